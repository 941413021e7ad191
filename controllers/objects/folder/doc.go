// Package folder is a cluster made of files: manifests in folders, watched, as
// a controller-runtime cache.Cache, so that everything above it works alike
// with and without Kubernetes.
//
// It is not an API server: nothing is written, and it checks of an object only
// what a cache relies on (its kind, its name, and that it has no field which its
// kind does not know) and fills in what an API server would. What an object
// means is for others to judge.
//
// # What stands in files, and what is wrong with it
//
// Files end in .yaml, .yml or .json; names with a leading dot are passed over.
// Kinds that Fairway does not read (a Deployment, say) are too, without a word.
// Mistakes are Problems of the object File and name the line. They cost as
// little as can be:
//
//   - A document that is broken, but says which object it is, keeps the last
//     good version of that object.
//   - A document that cannot be read at all could be any object of its file. As
//     long as it stands there, the file takes nothing back: what it declared
//     before and declares no longer stays.
//   - Of an object that is declared twice, the first counts, in the order of
//     file names and lines.
//   - A folder that has gone, or cannot be read, keeps what it held.
//
// # Invariant
//
// Once nothing is broken, the objects are those of a fresh start with the same
// files, whatever was edited on the way. An object's resource version changes
// only when the object does.
package folder

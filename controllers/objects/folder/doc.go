// Package folder is a cluster made of files: manifests in folders, watched, as a
// controller-runtime cache.Cache. So everything above it works alike with and
// without Kubernetes.
//
// It is not an API server: it writes nothing. Of an object it checks only what a
// cache relies on: its kind, its name, and that it has no field unknown to its
// kind. It fills in the defaults that an API server would. It does not judge what
// an object means.
//
// # What files hold, and what is wrong with it
//
// Files end in .yaml, .yml or .json; names with a leading dot are passed over. So
// are kinds that Fairway does not read (a Deployment, say), without a message.
// Mistakes are Problems of the object File and name the line. They cost as little
// as possible:
//
//   - A document that is broken, but says which object it is, keeps the last
//     good version of that object.
//   - A document that cannot be read at all could be any object of its file.
//     While it is there, the file withdraws nothing: objects that it declared
//     before and declares no longer stay.
//   - If an object is declared twice, the first declaration counts, in the order
//     of file names and lines.
//   - A folder that is gone, or cannot be read, keeps what it held.
//
// # Invariant
//
// Once nothing is broken, the objects are those of a fresh start with the same
// files, whatever was edited before. An object's resource version changes only
// when the object does.
package folder

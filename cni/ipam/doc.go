// Package ipam gives pods the addresses of one node. A lease is one file with
// several names: CONTAINER@INTERFACE, and each address that it takes.
//
// It decides nothing about links, routes or ports, and asks nobody: it reads and
// writes one folder. It is no store for other things: a record is written once
// and never changed.
//
// # Invariant
//
// An address is taken if and only if the folder has a file of its name. Every
// name leads to a whole record, because a file is written before it gets its
// first name. Nobody holds anything while it allocates. This is why each pair of
// callers is safe, also if one of them is stopped or killed between any two
// system calls:
//
//   - Take and Take: link(2) fails if the name exists, so one of them gets it.
//     The other goes on with the next address.
//   - Give and Give (and Remove, and a Take that undoes): names are removed only
//     under an exclusive lock of the folder, which the kernel frees with its
//     process. So what a name leads to cannot change between the look and the
//     removal.
//   - Give and the Take of another key: Give keeps the file open whose names it
//     removes. So no other file can get its inode number, and under the lock a
//     name that leads to that inode goes on doing so.
//   - Give and the Take of the same key (a stopped ADD that runs on after its
//     DEL): Give removes names until the file has none. From then on the kernel
//     refuses to give it a new one, and Take returns [ErrGiven]. If Give comes
//     before the first name, it finds nothing, and the lease is a leak that
//     [Node.Verdict] finds.
//   - Give killed: addresses go first and CONTAINER@INTERFACE last, so Give can
//     be repeated. Only if also a Take of the same key ran within the last step
//     does an address stay without a key. All shows it and Remove removes it.
//   - Take killed: its names stay and are a lease with fewer addresses for Find
//     and All. Another Take of the key returns [ErrExists], and Give removes it.
//
// Files whose names begin with a dot take nothing: hints of where to go on
// (lost or wrong, they cost nothing) and, on file systems without O_TMPFILE,
// files of a Take that was killed before the first name.
package ipam

// Package shrink deletes from maps so that they give their memory back. Go's own
// maps keep room for as many entries as they ever had, and a controller lives
// long: of a cluster that once had many objects, every map would remember it.
//
// It is not a container of its own: a map stays a map for all else.
package shrink

// small is the number of entries at which what is left of a map moves to a new
// one. It is cheap to copy, and what it needs is nothing to a process.
const small = 1024

// Delete deletes a key. The map may be another one afterwards: keep no second
// variable of it. A loop that ranges over the map goes on over the one that was
// there: it may delete the key at which it is; of others that are deleted
// meanwhile it may still see some, and of added ones it may see none.
func Delete[K comparable, V any](m *map[K]V, key K) {
	before := len(*m)
	delete(*m, key)
	if n := len(*m); n == before || n != 0 && n != small {
		return
	}
	left := make(map[K]V, len(*m))
	for k, v := range *m {
		left[k] = v
	}
	*m = left
}

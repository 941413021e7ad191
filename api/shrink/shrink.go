// Package shrink deletes from maps so that they give their memory back. Go's own
// maps keep room for as many entries as they ever had, and a controller lives
// long: of a cluster that once had many objects, every map would remember it.
//
// It is not a container of its own: a map stays a map for all else.
package shrink

// small is the number of entries at which what is left of a map moves to a new
// one. It is cheap to copy, and what it needs is nothing to a process.
const small = 1024

// Delete deletes a key. The map may be another one afterwards: do not call it
// while a loop ranges over the map, and keep no second variable of it.
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

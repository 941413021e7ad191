// Package shrink deletes from maps so that they return their memory. Go's own
// maps keep room for as many entries as they ever had. A controller lives long,
// and every map would stay as large as in the cluster's busiest times.
//
// It is for maps that have an entry for each object of a kind and live as long as
// the process. All others use delete.
//
// The package has no container type: for everything else a map is an ordinary
// map.
package shrink

// small is the number of entries at which Delete moves the rest of a map to a new
// one. So few entries are cheap to copy and take little memory.
const small = 1024

// Delete deletes a key. It may replace the map, so the caller must not keep
// another variable of the map. A loop that ranges over the map continues over the
// old one. The loop may delete the current key. It may still see other keys that
// were deleted in the meantime, and may miss keys that were added.
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

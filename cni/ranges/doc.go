// Package ranges decides which range of addresses each node gets for its pods.
//
// It is pure: it knows neither Kubernetes objects nor who decides. Its invariants: a range
// that it gives overlaps with none that is taken, and with none that it gives to another
// node; a node gets one range of each family or none at all, because it cannot get the
// other one later; and no range is given again before all others of its family that are
// free, so it rests. It counts nothing out: a range of 2⁶² parts costs as much as one of 2.
package ranges

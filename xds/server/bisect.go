package server

// bisection finds which of many suspects Envoy refuses. Envoy refuses a response, or
// a resource, as a whole and does not say which part of it is at fault. So the
// suspects are tested in groups, and a group that is refused is tested in halves.
//
// The caller sends Envoy the group under test, keeps all other suspects back, and reports
// the answer: refused, or next if Envoy accepted. The zero value has no suspects.
type bisection[T comparable] struct {
	// groups are those that are not known to be good. The first is under test. It is
	// empty after its culprit was found, until Envoy accepts the rest.
	groups [][]T
}

// isRunning reports whether a group is under test.
func (b *bisection[T]) isRunning() bool { return len(b.groups) > 0 }

// testing is the group under test.
func (b *bisection[T]) testing() []T {
	if !b.isRunning() {
		return nil
	}
	return b.groups[0]
}

// waiting are the groups that are tested later, the next one first.
func (b *bisection[T]) waiting() [][]T {
	if !b.isRunning() {
		return nil
	}
	return b.groups[1:]
}

// test makes suspects the group under test, in place of the one that was.
func (b *bisection[T]) test(suspects []T) {
	b.groups = append([][]T{suspects}, b.waiting()...)
}

// refused reports that Envoy refused the group under test, which must not be empty. A
// single suspect is the culprit, and is tested no more. Of several suspects the first half
// stays under test. The second half, postponed, waits.
func (b *bisection[T]) refused() (culprit T, found bool, postponed []T) {
	suspects := b.testing()
	if len(suspects) == 1 {
		b.test(nil)
		return suspects[0], true, nil
	}
	middle := len(suspects) / 2
	b.groups = append([][]T{suspects[:middle:middle], suspects[middle:]}, b.waiting()...)
	return culprit, false, suspects[middle:]
}

// next is done with the group under test and puts the next one to the test. It reports
// false if there is none: the bisection is over.
func (b *bisection[T]) next() bool {
	b.groups = b.waiting()
	return b.isRunning()
}

// postpone adds a suspect that is tested after all others.
func (b *bisection[T]) postpone(suspect T) { b.groups = append(b.groups, []T{suspect}) }

// trial is a bisection that follows the answers of one Envoy.
type trial[T comparable] struct {
	bisection[T]

	judge *stream // the Envoy that refused last; nil: it has left
}

// isOpen reports whether the judge has yet to answer the newest version of the
// resource in which the suspects are tested.
func (t *trial[T]) isOpen(r *resource) bool {
	return t.judge != nil && t.judge.subscriptions[r.kind].ackedSeq(r) < r.seq
}

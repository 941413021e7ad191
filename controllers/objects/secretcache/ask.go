package secretcache

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Bounds on what the API server is asked.
const (
	// asking is how many namespaces are asked about at once. askingInVain is how
	// many of them may be namespaces that failed last time: what hangs must not
	// hold up the rest.
	asking       = 4
	askingInVain = 2
	// If at most few Secrets of a namespace are due, each is asked for. If more
	// are due, the namespace is listed (names and versions), at most every
	// listRest. Then the Secrets that exist and are new are asked for, perVisit at
	// a time.
	few      = 4
	listRest = 5 * time.Second
	perVisit = 20
	// visitRest is the time between two visits of a namespace.
	visitRest = 100 * time.Millisecond
	// patience is how long a request may take.
	patience = 5 * time.Second
)

// When to ask again for a Secret that no watch covers. One that exists is asked
// for after again. One that does not exist is asked for after againMissing, then
// after twice that, up to againAtLast. One that the API server did not give is
// asked for after firstRetry, then after twice that, up to lastRetry. The same
// goes for its namespace, unless the API server refused.
const (
	again        = 30 * time.Second
	againMissing = 30 * time.Second
	againAtLast  = 5 * time.Minute
	firstRetry   = time.Second
	lastRetry    = 30 * time.Second
)

// namespace holds the entries of one namespace, and what has been asked about it.
type namespace struct {
	name    string
	entries map[*entry]struct{}

	due      time.Time // when the first entry is due, or earlier
	rest     time.Time // no visit before
	busy     bool      // it is visited
	visited  uint64    // the number of the last visit
	failures int       // visits without an answer since one that got one

	listed   time.Time         // when it was listed last
	versions map[string]string // of Secrets that exist and are not yet asked for
	unlisted bool              // it may not be listed
}

// Run asks the API server for what is due, until ctx ends.
func (c *Cache) Run(ctx context.Context) error {
	c.work(ctx, func() bool { return false })
	return nil
}

// Settle asks the API server for the entries of which nothing is known. It returns
// when there are none left, or after within.
func (c *Cache) Settle(ctx context.Context, within time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	c.work(ctx, c.settled)
}

// Step asks for what is due in one namespace, and reports whether there was one.
// It is Run for a caller with its own clock.
func (c *Cache) Step(ctx context.Context) bool {
	c.mu.Lock()
	in, _ := c.next(c.now())
	c.mu.Unlock()
	if in != nil {
		c.visit(ctx, in)
	}
	return in != nil
}

// settled reports whether something is known of all entries. That may be that the
// API server does not give them.
func (c *Cache) settled() bool {
	for _, e := range c.entries {
		if !e.fresh && e.err == nil {
			return false
		}
	}
	return c.busy == 0
}

// work visits namespaces, several at once, until ctx ends or enough returns true.
// enough is called under the lock.
func (c *Cache) work(ctx context.Context, enough func() bool) {
	ended := make(chan struct{}, asking)
	for range asking {
		go func() { // waited for below
			defer func() { ended <- struct{}{} }()
			for ctx.Err() == nil {
				c.mu.Lock()
				in, wait := c.next(c.now())
				done, poked := in == nil && enough(), c.poked
				c.mu.Unlock()
				switch {
				case done:
					return
				case in != nil:
					c.visit(ctx, in)
				default:
					sleep(ctx, poked, wait)
				}
			}
		}()
	}
	for range asking {
		<-ended
	}
}

func sleep(ctx context.Context, poked <-chan struct{}, wait time.Duration) {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-poked:
	case <-timer.C:
	}
}

// next returns the namespace to visit now, and marks it busy. Of those with
// something due, it is the one whose last visit is longest ago. If there is none,
// next returns how long to wait.
func (c *Cache) next(now time.Time) (*namespace, time.Duration) {
	var first *namespace
	wait := time.Hour
	for _, in := range c.namespaces {
		if in.busy || in.failures > 0 && c.failing >= askingInVain {
			continue // the end of a visit wakes us
		}
		switch left := in.nextVisit().Sub(now); {
		case left > 0:
			wait = min(wait, left)
		case len(in.entries) == 0:
			delete(c.namespaces, in.name)
		case first == nil, in.visited < first.visited:
			first = in
		}
	}
	if first == nil {
		return nil, wait
	}
	c.visits++
	first.busy, first.visited = true, c.visits
	c.busy++
	if first.failures > 0 {
		c.failing++
	}
	return first, 0
}

// nextVisit returns when the namespace is to be visited, or forgotten if it has no
// entries. It is never before a visit is allowed: otherwise a key that wants
// another Secret each time would cause a visit each time.
func (n *namespace) nextVisit() time.Time {
	at := n.due
	if len(n.entries) == 0 {
		at = n.listed.Add(listRest)
	}
	if n.rest.After(at) {
		return n.rest
	}
	return at
}

// visit asks for what is due in a namespace.
func (c *Cache) visit(ctx context.Context, in *namespace) {
	due, list := c.plan(in)
	var failed error
	if list {
		due, failed = c.list(ctx, in, due)
	}
	for _, q := range due[:min(len(due), perVisit)] {
		if failed != nil || ctx.Err() != nil {
			break
		}
		failed = c.ask(ctx, q)
	}
	c.leave(ctx, in, failed)
}

// question is a request for an entry.
type question struct {
	entry   *entry
	changes uint64
}

// plan returns what to ask for in a namespace, and whether to list it first.
func (c *Cache) plan(in *namespace) (due []question, list bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	due = in.dueAt(now)
	if len(due) <= few || in.unlisted {
		return due, false
	}
	if in.listed.IsZero() || now.Sub(in.listed) >= listRest {
		in.listed = now
		return due, true
	}
	return slices.DeleteFunc(due, func(q question) bool { return in.versions[q.entry.name.Name] == "" }), false
}

// dueAt returns what is due, longest due first.
func (n *namespace) dueAt(now time.Time) []question {
	var due []question
	for e := range n.entries {
		if !e.due.After(now) {
			due = append(due, question{e, e.changes})
		}
	}
	slices.SortFunc(due, func(a, b question) int {
		return cmp.Or(a.entry.due.Compare(b.entry.due), cmp.Compare(a.entry.name.Name, b.entry.name.Name))
	})
	return due
}

// list answers the questions that the names and versions of a namespace's Secrets
// can answer. It returns the others.
func (c *Cache) list(ctx context.Context, in *namespace, due []question) ([]question, error) {
	list := &metav1.PartialObjectMetadataList{}
	list.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("SecretList"))
	err := c.request(ctx, func(ctx context.Context) error { return c.live.List(ctx, list, client.InNamespace(in.name)) })
	if err != nil {
		return c.listFailed(in, due, err)
	}
	versions := make(map[string]string, len(list.Items))
	for i := range list.Items {
		versions[list.Items[i].Name] = string(list.Items[i].UID) + "/" + list.Items[i].ResourceVersion
	}
	return c.compare(in, due, versions), nil
}

// compare answers the questions that the versions can answer. It returns the
// others.
func (c *Cache) compare(in *namespace, due []question, versions map[string]string) []question {
	var left []question
	wake := map[holder]struct{}{}
	c.mu.Lock()
	in.versions = map[string]string{}
	for _, q := range due {
		name, has := q.entry.name.Name, q.entry.secret
		switch versions[name] {
		case "":
			has = nil
		case versionOf(has):
		default:
			left = append(left, q)
			in.versions[name] = versions[name]
			continue
		}
		for _, holder := range c.settle(q, has, nil) {
			wake[holder] = struct{}{}
		}
	}
	c.mu.Unlock()
	for holder := range wake { // each once, though it may want many Secrets
		holder.wake()
	}
	return left
}

// listFailed marks a namespace that cannot be listed, so that each Secret is asked
// for by name.
func (c *Cache) listFailed(in *namespace, due []question, err error) ([]question, error) {
	if isSilence(err) {
		return due, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	in.unlisted = true
	return due, nil
}

// ask asks for one Secret. It returns an error only if all other questions would
// fail too.
func (c *Cache) ask(ctx context.Context, q question) error {
	var secret *corev1.Secret
	err := c.request(ctx, func(ctx context.Context) (err error) {
		secret, err = get(ctx, c.live, q.entry.name)
		return err
	})
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil && isSilence(err) {
		return err
	}
	c.answer(q, kept(secret), err)
	return nil
}

func (c *Cache) request(ctx context.Context, do func(context.Context) error) error {
	c.mu.Lock()
	c.asked++
	c.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return do(ctx)
}

// isSilence reports whether an error means that the API server has not answered
// the question: it is away, too busy, or broken.
func isSilence(err error) bool {
	status := apierrors.APIStatus(nil)
	if !errors.As(err, &status) {
		return true
	}
	return apierrors.IsTooManyRequests(err) || apierrors.IsTimeout(err) || status.Status().Code >= 500
}

// answer takes the API server's answer to a question.
func (c *Cache) answer(q question, secret *corev1.Secret, err error) {
	c.mu.Lock()
	wake := c.settle(q, secret, err)
	c.mu.Unlock()
	for _, holder := range wake {
		holder.wake()
	}
}

// settle notes an answer, and returns the holders to wake.
func (c *Cache) settle(q question, secret *corev1.Secret, err error) []holder {
	e, now := q.entry, c.now()
	same := (e.fresh || e.err != nil) && Why(e.err) == Why(err) && (err != nil || versionOf(secret) == versionOf(e.secret))
	failed := e.err != nil
	e.err = err
	switch {
	case err != nil && failed:
		e.wait = min(2*max(e.wait, firstRetry), lastRetry)
	case err != nil:
		e.wait = firstRetry
	default:
		e.wait = e.waitAfter(secret, failed)
		e.secret, e.known, e.fresh = secret, true, q.changes == e.changes
	}
	e.due = now.Add(e.wait)
	if !e.fresh && err == nil {
		e.due = now // it changed meanwhile
	}
	if in := c.namespaces[e.name.Namespace]; in != nil {
		delete(in.versions, e.name.Name)
	}
	if same {
		return nil
	}
	var all []holder
	for holder := range e.holders {
		all = append(all, holder)
	}
	return all
}

// waitAfter returns how long an answer holds.
func (e *entry) waitAfter(secret *corev1.Secret, failed bool) time.Duration {
	switch {
	case secret != nil:
		return again
	case failed || e.secret != nil || e.wait == 0:
		return againMissing
	default:
		return min(2*e.wait, againAtLast)
	}
}

// leave ends a visit. failed is why nothing more could be asked: then everything
// that was due gets that error.
func (c *Cache) leave(ctx context.Context, in *namespace, failed error) {
	if failed != nil && ctx.Err() == nil {
		c.fail(in, failed)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if in.failures > 0 {
		c.failing--
	}
	in.busy = false
	c.busy--
	now := c.now()
	switch {
	case failed != nil && ctx.Err() == nil:
		in.failures++
		in.rest = now.Add(min(firstRetry<<min(in.failures-1, 10), lastRetry))
	default:
		in.failures = 0
		in.rest = now.Add(visitRest)
	}
	c.schedule(in, now)
}

// fail answers all that is due in a namespace with an error.
func (c *Cache) fail(in *namespace, err error) {
	wake := map[holder]struct{}{}
	c.mu.Lock()
	for _, q := range in.dueAt(c.now()) {
		for _, holder := range c.settle(q, nil, err) {
			wake[holder] = struct{}{}
		}
	}
	c.mu.Unlock()
	for holder := range wake {
		holder.wake()
	}
}

// schedule sets when a namespace is to be visited again.
func (c *Cache) schedule(in *namespace, now time.Time) {
	in.due = time.Time{}
	due := 0
	for e := range in.entries {
		if !e.due.After(now) {
			due++
		}
		if in.due.IsZero() || e.due.Before(in.due) {
			in.due = e.due
		}
	}
	if due > few && !in.unlisted && len(in.versions) == 0 && in.listed.Add(listRest).After(in.rest) {
		in.rest = in.listed.Add(listRest)
	}
	close(c.poked)
	c.poked = make(chan struct{})
}

// Why returns what people are told of an error: the same text for the same cause,
// and none for nil.
func Why(err error) string {
	switch {
	case err == nil:
		return ""
	case apierrors.IsForbidden(err):
		return "the controller may not read it"
	case apierrors.IsTooManyRequests(err):
		return "the API server is too busy to give it"
	case errors.Is(err, context.DeadlineExceeded), apierrors.IsTimeout(err), apierrors.IsServerTimeout(err):
		return "the API server does not give it in time"
	}
	if status := apierrors.APIStatus(nil); errors.As(err, &status) {
		return "the API server does not give it (" + string(cmp.Or(status.Status().Reason, metav1.StatusReasonInternalError)) + ")"
	}
	return "the API server cannot be reached"
}

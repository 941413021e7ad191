package folder

import (
	"crypto/sha256"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairwaynet/fairway/api/problem"
)

// racy is how old a file must be before its time tells whether it was changed: the
// clocks of file systems are coarse.
const racy = 2 * time.Second

// stdin is the name of the text from standard input.
const stdin = "<stdin>"

// tree is the state of all files. Only one goroutine changes it.
type tree struct {
	paths  []string
	limits Limits
	files  map[string]*file
	dark   map[string]error
	// objects are what all files declare, as of the last merge. mirrored are the
	// EndpointSlices that are made of Endpoints.
	objects, mirrored map[ref]locatedObject
	unmirrored        []PassedOver // Endpoints of which no slices are made
}

// locatedObject is an object and its place.
type locatedObject struct {
	object client.Object
	place  place
}

// file is one file and what is remembered of it.
type file struct {
	info    fs.FileInfo
	settled bool // if info is still the same, so is the file
	sum     [sha256.Size]byte
	content content
	// kept are last good versions of objects that the file does not declare well
	// any more but has not withdrawn.
	kept map[ref]locatedObject
}

func newTree(paths []string, limits Limits) *tree {
	return &tree{paths: paths, limits: limits.withDefaults(), files: map[string]*file{}, objects: map[ref]locatedObject{}}
}

// scan brings the tree up to date with the files. It reads files that look
// unchanged only if they were touched. It reports whether anything changed, and
// which folders to watch.
func (t *tree) scan(now time.Time, touched map[string]bool) (changed bool, folders map[string]bool) {
	found := walk(t.paths, t.limits)
	for _, path := range found.sortedFiles() {
		info := found.files[path]
		before := t.files[path]
		if before != nil && before.settled && !touched[path] && same(before.info, info) {
			continue
		}
		text, err := readFile(path, t.limits.FileSize)
		if err != nil {
			found.dark[path] = err
			continue
		}
		changed = t.take(path, text) || changed
		t.files[path].info = info
		t.files[path].settled = now.Sub(info.ModTime()) > racy
	}
	for path := range t.files {
		if _, ok := found.files[path]; !ok && path != stdin && !found.isDark(path) {
			delete(t.files, path)
			changed = true
		}
	}
	if !maps.EqualFunc(t.dark, found.dark, func(a, b error) bool { return a.Error() == b.Error() }) {
		t.dark = found.dark
		changed = true
	}
	return changed, found.folders
}

// same reports whether a file looks as it did.
func same(a, b fs.FileInfo) bool {
	return a.Size() == b.Size() && a.ModTime().Equal(b.ModTime()) && os.SameFile(a, b)
}

// take sets the text of a file, and reports whether that is a change.
func (t *tree) take(path string, text []byte) bool {
	before := t.files[path]
	sum := sha256.Sum256(text)
	if before != nil && before.sum == sum {
		return false
	}
	now := &file{sum: sum, content: parse(path, text)}
	now.kept = t.keep(now.content, before)
	t.files[path] = now
	return true
}

// keep finds the last good versions of what a new content declares badly.
func (t *tree) keep(now content, before *file) map[ref]locatedObject {
	kept := map[ref]locatedObject{}
	good := map[ref]bool{}
	for _, d := range now.declared {
		if d.object != nil {
			good[d.ref] = true
		} else if last, ok := t.objects[d.ref]; ok {
			kept[d.ref] = last // wherever it was: it may just have moved here
		}
	}
	if before == nil {
		return kept
	}
	last := before.last()
	for r, s := range last {
		if _, broken := kept[r]; !good[r] && (now.unknown || broken) {
			kept[r] = s
		}
	}
	maps.DeleteFunc(kept, func(r ref, _ locatedObject) bool { return good[r] })
	return kept
}

// last returns all objects of a file: those that it declares and those that it
// keeps.
func (f *file) last() map[ref]locatedObject {
	all := maps.Clone(f.kept)
	for _, d := range f.content.declared {
		if _, ok := all[d.ref]; !ok && d.object != nil {
			all[d.ref] = locatedObject{d.object, d.place}
		}
	}
	return all
}

// merge puts the files together. A good declaration comes before a kept version;
// otherwise the first file counts.
func (t *tree) merge() (map[ref]locatedObject, []problem.Problem) {
	objects := map[ref]locatedObject{}
	problems := t.darkProblems()
	paths := slices.Sorted(maps.Keys(t.files))
	for _, path := range paths {
		for _, d := range t.files[path].content.declared {
			first, ok := objects[d.ref]
			switch {
			case d.object == nil:
			case !ok:
				objects[d.ref] = locatedObject{d.object, d.place}
			default:
				problems = append(problems, fileProblem(path, d.place.line, DuplicateObject, fmt.Sprintf(
					"%s is declared already in %s, line %d, which counts; this one does not", d.ref, first.place.file, first.place.line)))
			}
		}
	}
	for _, path := range paths {
		for r, s := range t.files[path].kept {
			if _, ok := objects[r]; !ok {
				objects[r] = s
			}
		}
	}
	for _, path := range paths {
		problems = append(problems, t.mistakes(path, objects)...)
	}
	t.objects = objects
	all, found := t.mirror()
	return all, problem.Sort(append(problems, found...))
}

// ofKubernetes reports whether a file has anything to do with Kubernetes: it holds
// or held an object, or holds what is surely meant to be one.
func (f *file) ofKubernetes() bool {
	return len(f.content.declared) > 0 || len(f.kept) > 0 ||
		slices.ContainsFunc(f.content.passed, func(p PassedOver) bool { return p.Kind != "" }) ||
		slices.ContainsFunc(f.content.mistakes, func(m mistake) bool { return m.foreign == "" })
}

// passedOver returns what is not read of the files, in their order.
func (t *tree) passedOver() []PassedOver {
	var all []PassedOver
	for _, path := range slices.Sorted(maps.Keys(t.files)) {
		f := t.files[path]
		all = append(all, f.content.passed...)
		for _, m := range f.content.mistakes {
			if m.foreign != "" && !f.ofKubernetes() {
				all = append(all, PassedOver{Place: Place{path, m.line}, Why: m.foreign})
			}
		}
	}
	return append(all, t.unmirrored...)
}

// darkProblems returns the Problems of what cannot be read.
func (t *tree) darkProblems() []problem.Problem {
	var problems []problem.Problem
	for path, err := range t.dark {
		message := err.Error()
		if t.holds(path) {
			message += "; what it held stays"
		}
		problems = append(problems, fileProblem(path, 0, UnreadableFile, message))
	}
	return problems
}

// holds reports whether anything is known of what a path held.
func (t *tree) holds(path string) bool {
	for name := range t.files {
		if isIn(path, name) {
			return true
		}
	}
	return false
}

// mistakes returns the Problems of one file. Each says what happens to the object.
func (t *tree) mistakes(path string, objects map[ref]locatedObject) []problem.Problem {
	var problems []problem.Problem
	f := t.files[path]
	ours := f.ofKubernetes()
	for _, m := range f.content.mistakes {
		_, serves := objects[m.ref]
		switch {
		case m.foreign != "" && !ours:
			continue
		case m.harmless:
		case m.ref == (ref{}) && len(f.kept) > 0:
			m.message += "; what the file declared before stays until this is mended"
		case m.ref == (ref{}):
			m.message += "; this document counts for nothing"
		case serves:
			m.message += "; its last good version stays"
		default:
			m.message += "; it does not count"
		}
		problems = append(problems, fileProblem(path, m.line, m.reason, m.message))
	}
	return problems
}

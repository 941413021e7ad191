package folder

import (
	"fmt"

	"github.com/fairwaynet/fairway/api/document"
	"github.com/fairwaynet/fairway/api/problem"
)

// Place is a line of a file.
type Place struct {
	File string
	Line int // 0: the file as a whole
}

// String returns text such as "shop/cart.yaml:12", which editors understand.
func (p Place) String() string {
	if p.Line == 0 {
		return p.File
	}
	return fmt.Sprintf("%s:%d", p.File, p.Line)
}

// Locate returns the place of a Problem with a file, or with an object of a file.
// It reads the file again, so it is only fast enough for people.
func (c *Cache) Locate(p problem.Problem) (Place, bool) {
	if p.Object.Kind == FileKind {
		place := Place{File: p.Object.Name.Name}
		_, _ = fmt.Sscanf(p.Field, "line %d", &place.Line) // without a line it is the whole file
		return place, true
	}
	c.mu.Lock()
	found, ok := c.tree.objects[ref{p.Object.Kind, p.Object.Name}]
	if !ok {
		if found, ok = c.tree.mirrored[ref{p.Object.Kind, p.Object.Name}]; ok {
			p.Field = "" // it is of the slice, which is in no file
		}
	}
	c.mu.Unlock()
	if !ok {
		return Place{}, false
	}
	place := Place{File: found.place.file, Line: found.place.line}
	text, err := c.input, error(nil)
	if place.File != stdin {
		text, err = readFile(place.File, c.tree.limits.FileSize)
	}
	if line, ok := found.place.lineOf(p.Field, text); ok && err == nil {
		place.Line = line
	}
	return place, true
}

// lineOf returns the line of a field of the object, if the text of its file still
// has the object there.
func (p place) lineOf(field string, text []byte) (int, bool) {
	documents, mistakes := document.Split(text)
	if mistakes != nil || field == "" || p.document >= len(documents) || documents[p.document].Begin() > p.line {
		return 0, false
	}
	value, mistakes := documents[p.document].Read()
	if mistakes != nil {
		return 0, false
	}
	value.At = p.item
	return value.Line(field), true
}

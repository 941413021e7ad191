// Package census counts what a long-lived object keeps, so that a test can say
// that nothing stays of what came and went: also in a map that somebody adds later.
package census

import (
	"maps"
	"reflect"
	"strings"
)

// Of counts, below the roots, how many objects there are of each type, and how many
// entries all maps and slices of each field have together. It looks into types of
// the given packages and of those below them, and into lists. What is empty is left
// out: the census of something from which all has gone is that of a fresh one.
// Nobody may change anything meanwhile.
func Of(packages []string, roots ...any) map[string]int {
	c := counter{packages: append(packages, "container/list"), sizes: map[string]int{}, seen: map[object]struct{}{}}
	for _, root := range roots {
		c.count("", reflect.ValueOf(root))
	}
	maps.DeleteFunc(c.sizes, func(_ string, n int) bool { return n == 0 })
	return c.sizes
}

type counter struct {
	packages []string
	sizes    map[string]int
	seen     map[object]struct{}
}

// object is one that was counted: the first field of a struct is where the struct
// is.
type object struct {
	at uintptr
	is reflect.Type
}

// count counts what v is or has; field is where it was found.
func (c *counter) count(field string, v reflect.Value) {
	switch v.Kind() {
	case reflect.Interface:
		if !v.IsNil() {
			c.count(field, v.Elem())
		}
	case reflect.Pointer:
		this := object{v.Pointer(), v.Type()}
		if _, seen := c.seen[this]; v.IsNil() || seen || !c.looksInto(v.Type().Elem()) {
			return
		}
		c.seen[this] = struct{}{}
		c.sizes[v.Type().String()]++
		c.count(field, v.Elem())
	case reflect.Struct:
		for i := range v.NumField() {
			if c.looksInto(v.Type()) {
				c.count(v.Type().String()+"."+v.Type().Field(i).Name, v.Field(i))
			}
		}
	case reflect.Map:
		c.sizes[field] += v.Len()
		for entry := v.MapRange(); entry.Next(); {
			c.count(field, entry.Key())
			c.count(field, entry.Value())
		}
	case reflect.Slice, reflect.Array:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			return // text
		}
		if v.Kind() == reflect.Slice {
			c.sizes[field] += v.Len()
		}
		for i := range v.Len() {
			c.count(field, v.Index(i))
		}
	default: // holds nothing
	}
}

func (c *counter) looksInto(t reflect.Type) bool {
	for _, path := range c.packages {
		if t.PkgPath() == path || strings.HasPrefix(t.PkgPath(), path+"/") {
			return true
		}
	}
	return t.PkgPath() == ""
}

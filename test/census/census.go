// Package census counts what a long-lived object keeps. With it a test can show
// that nothing remains of objects that came and went, even in a map that is added
// to the code later.
package census

import (
	"maps"
	"reflect"
	"strings"
)

// Of counts everything below the roots: the objects of each type, and the entries
// of all maps and slices in each field. It looks into types of the given packages
// and of the packages below them, and into lists. It leaves out what is empty, so
// that an emptied object has the census of a fresh one. The roots must not change
// in the meantime.
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

// object identifies a counted object. It includes the type, because the first
// field of a struct has the struct's address.
type object struct {
	at uintptr
	is reflect.Type
}

// count counts what v is or holds; field is where v was found.
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
			return // a string
		}
		if v.Kind() == reflect.Slice {
			c.sizes[field] += v.Len()
		}
		for i := range v.Len() {
			c.count(field, v.Index(i))
		}
	default: // no references
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

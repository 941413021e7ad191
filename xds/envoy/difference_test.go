package envoy_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"

	"github.com/fairwaynet/fairway/xds/envoy"
	"github.com/fairwaynet/fairway/xds/route"
)

// unlike is the key under which a golden file has the differences of a connection
// manager from the default one. "listeners-by-default" shows the default one, and the
// cases "filters-…" show its filters.
const unlike = "unlike the default"

// differences are the changes that make is of was, by path; null is a field that is
// does not have. A list whose elements have names is compared by these names. If it
// has other elements, or another order, the path of the list has all names.
func differences(was, is any) map[string]any {
	found := map[string]any{}
	compare(found, "", was, is)
	return found
}

func compare(found map[string]any, path string, was, is any) {
	switch is := is.(type) {
	case map[string]any:
		if was, ok := was.(map[string]any); ok {
			compareFields(found, path, was, is)
			return
		}
	case []any:
		if was, ok := was.([]any); ok && compareElements(found, path, was, is) {
			return
		}
	}
	if !reflect.DeepEqual(was, is) {
		found[path] = is
	}
}

func compareFields(found map[string]any, path string, was, is map[string]any) {
	prefix := strings.TrimPrefix(path+".", ".")
	for name := range was {
		if _, there := is[name]; !there {
			found[prefix+name] = nil
		}
	}
	for name, value := range is {
		if before, there := was[name]; there {
			compare(found, prefix+name, before, value)
		} else {
			found[prefix+name] = value
		}
	}
}

// compareElements says whether the lists can be compared by their elements.
func compareElements(found map[string]any, path string, was, is []any) bool {
	before, now := named(was), named(is)
	if before == nil || now == nil {
		if len(was) != len(is) {
			return false
		}
		for i := range is {
			compare(found, fmt.Sprintf("%s[%d]", path, i), was[i], is[i])
		}
		return true
	}
	if !slices.Equal(before, now) {
		found[path] = now
	}
	for i, name := range now {
		if at := slices.Index(before, name); at >= 0 {
			compare(found, path+"["+name+"]", was[at], is[i])
		} else {
			found[path+"["+name+"]"] = is[i]
		}
	}
	return true
}

// named are the names of the elements, the second of one name with a number; nil:
// some element has no name.
func named(list []any) []string {
	names := make([]string, 0, len(list))
	for _, element := range list {
		fields, _ := element.(map[string]any)
		name, _ := fields["name"].(string)
		if name == "" {
			return nil
		}
		unique := name
		for n := 2; slices.Contains(names, unique); n++ {
			unique = fmt.Sprintf("%s %d", name, n)
		}
		names = append(names, unique)
	}
	return names
}

// plain is a message as JSON has it.
func plain(t testing.TB, message proto.Message) map[string]any {
	t.Helper()
	text, err := protojson.Marshal(message)
	if err != nil {
		t.Fatal(err)
	}
	var fields map[string]any
	if err := json.Unmarshal(text, &fields); err != nil {
		t.Fatal(err)
	}
	return fields
}

func defaultListener(t testing.TB) *listenerv3.Listener {
	t.Helper()
	return message[*listenerv3.Listener](t, envoy.Listeners(route.DefaultSettings(), nil)[0])
}

// defaultManager is the connection manager of the default listener.
func defaultManager(t testing.TB) map[string]any {
	t.Helper()
	return plain(t, connectionManager(t, defaultListener(t)))
}

// abridged are listeners as people read them. A connection manager is only its
// differences from the default one, or, if whole, all but its filters; and so is a
// listener that has none.
func abridged(t testing.TB, listeners []envoy.Resource, whole bool) []byte {
	t.Helper()
	usual := plain(t, defaultListener(t))
	var values []any
	for _, l := range listeners {
		value := plain(t, decode(t, l))
		if !whole && reflect.DeepEqual(value, usual) {
			value = map[string]any{"name": value["name"], unlike: map[string]any{}}
		}
		abridge(value, defaultManager(t), whole)
		values = append(values, value)
	}
	return documentsOf(t, values)
}

// filters are filters of the default connection manager, by name.
func filters(t testing.TB, names []string) []byte {
	t.Helper()
	all := defaultManager(t)["httpFilters"].([]any)
	var values []any
	for _, name := range names {
		at := slices.Index(named(all), name)
		if at < 0 {
			t.Fatalf("there is no filter %q, but %q", name, named(all))
		}
		values = append(values, all[at])
	}
	return documentsOf(t, values)
}

// Some case shows each filter, and so all of the default connection manager.
func TestEveryFilterIsShown(t *testing.T) {
	var shown []string
	for _, path := range goldenCases(t) {
		_, in := readCase(t, path)
		shown = append(shown, in.Filters...)
	}
	want := named(defaultManager(t)["httpFilters"].([]any))
	slices.Sort(shown)
	slices.Sort(want)
	if diff := cmp.Diff(want, shown); diff != "" {
		t.Errorf("filters that are shown (-want +got):\n%s", diff)
	}
}

// abridge abridges the connection managers in value, which differ from by.
func abridge(value any, by map[string]any, whole bool) {
	switch value := value.(type) {
	case []any:
		for _, element := range value {
			abridge(element, by, whole)
		}
	case map[string]any:
		kind, _ := value["@type"].(string)
		if !strings.HasSuffix(kind, ".HttpConnectionManager") {
			for _, field := range value {
				abridge(field, by, whole)
			}
			return
		}
		if whole {
			value["httpFilters"] = named(value["httpFilters"].([]any))
			return
		}
		found := differences(by, withoutType(value))
		clear(value)
		value["@type"], value[unlike] = kind, found
	}
}

func withoutType(value map[string]any) map[string]any {
	all := maps.Clone(value)
	delete(all, "@type")
	return all
}

func TestDifferences(t *testing.T) {
	for _, test := range []struct{ name, was, is, want string }{
		{"none", `{"a":[{"name":"x"}]}`, `{"a":[{"name":"x"}]}`, `{}`},
		{"fields", `{"a":{"b":1,"c":2}}`, `{"a":{"c":3,"d":4}}`, `{"a.b":null,"a.c":3,"a.d":4}`},
		{"by name", `{"l":[{"name":"x","v":1},{"name":"y"}]}`, `{"l":[{"name":"x","v":2},{"name":"y"}]}`, `{"l[x].v":2}`},
		{"one more", `{"l":[{"name":"x"}]}`, `{"l":[{"name":"n"},{"name":"x"}]}`, `{"l":["n","x"],"l[n]":{"name":"n"}}`},
		{"another order", `{"l":[{"name":"x"},{"name":"y"}]}`, `{"l":[{"name":"y"},{"name":"x"}]}`, `{"l":["y","x"]}`},
		{"twice a name", `{"l":[{"name":"x"},{"name":"x","v":1}]}`, `{"l":[{"name":"x"},{"name":"x","v":2},{"name":"x"}]}`, `{"l":["x","x 2","x 3"],"l[x 2].v":2,"l[x 3]":{"name":"x"}}`},
		{"by place", `{"l":[1,2]}`, `{"l":[1,3]}`, `{"l[1]":3}`},
		{"another length", `{"l":[1,2]}`, `{"l":[1]}`, `{"l":[1]}`},
		{"another kind", `{"a":1}`, `{"a":[1]}`, `{"a":[1]}`},
	} {
		t.Run(test.name, func(t *testing.T) {
			var was, is any
			if json.Unmarshal([]byte(test.was), &was) != nil || json.Unmarshal([]byte(test.is), &is) != nil {
				t.Fatal("the test is no JSON")
			}
			got, err := json.Marshal(differences(was, is))
			if err != nil || string(got) != test.want {
				t.Errorf("%s, %v; want %s", got, err, test.want)
			}
		})
	}
}

package document

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/google/go-cmp/cmp"
)

func TestSplit(t *testing.T) {
	for _, test := range []struct {
		name, file string
		want       []string // "line: text"
	}{
		{"one document", "a: b\n", []string{"1: a: b"}},
		{"two documents", "a: b\n---\nc: d\n", []string{"1: a: b", "2: c: d"}},
		{"nothing before the first marker", "---\na: b\n", []string{"1: a: b"}},
		{"a comment behind a marker", "a: b\n--- # next\nc: d\n", []string{"1: a: b", "2: # next\nc: d"}},
		{"content behind a marker", "--- {a: b}\n", []string{"1: {a: b}"}},
		{"documents of comments are none", "# one\n---\n# two\n---\n\n", nil},
		{"a directive is no document", "%YAML 1.1\n---\na: b\n", []string{"2: a: b"}},
		{"an end marker", "a: b\n...\nc: d\n", []string{"1: a: b", "3: c: d"}},
		{"dashes in a block are content", "a: |\n  ---\n  b\n", []string{"1: a: |\n  ---\n  b"}},
		{"line ends of Windows", "a: b\r\n---\r\nc: d\r\n", []string{"1: a: b", "2: c: d"}},
		{"a byte order mark", "\xef\xbb\xbfa: b\n", []string{"1: a: b"}},
		{"a byte order mark in the middle", "a: b\n\xef\xbb\xbf---\nc: d\n", []string{"1: a: b", "2: c: d"}},
		{"JSON values one after the other", "{\"a\": 1}\n\n{\n\t\"b\": 2\n}\n", []string{"1: {\"a\": 1}", "3: {\n\t\"b\": 2\n}"}},
		{"a flow mapping is YAML", "{a: b}\n", []string{"1: {a: b}"}},
		{"nothing", "", nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			var got []string
			documents, mistakes := Split([]byte(test.file))
			if mistakes != nil {
				t.Fatal(mistakes)
			}
			for _, d := range documents {
				got = append(got, fmt.Sprintf("%d: %s", d.Line, strings.TrimSpace(string(d.Text))))
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// shape is something to decode into.
type shape struct {
	Kind     string `json:"kind"`
	Metadata struct {
		Name        string            `json:"name"`
		Annotations map[string]string `json:"annotations"`
	} `json:"metadata"`
	Data map[string][]byte `json:"data"`
	List []struct {
		Text []byte `json:"text"`
	} `json:"list"`
	Spec struct {
		Rules []struct {
			Host string `json:"host"`
			Port int32  `json:"port"`
			Open bool   `json:"open"`
		} `json:"rules"`
	} `json:"spec"`
}

func TestMistakesSayWhere(t *testing.T) {
	for _, test := range []struct {
		name, file string
		want       []Mistake
	}{
		{"none", "kind: A\nspec:\n  rules:\n  - host: a\n", nil},
		{"an unknown field", "kind: A\nspec:\n  rulez: []\n",
			[]Mistake{{3, "spec.rulez", `unknown field "spec.rulez"`}}},
		{"fields differ by case", "Kind: A\n",
			[]Mistake{{1, "Kind", `unknown field "Kind"`}}},
		{"every unknown field, in the second document too", "kind: A\n---\nspec:\n  rules:\n  - host: a\n  - hots: b\n    prot: 1\n",
			[]Mistake{{6, "spec.rules[1].hots", `unknown field "spec.rules[1].hots"`}, {7, "spec.rules[1].prot", `unknown field "spec.rules[1].prot"`}}},
		{"a string for a number", "spec:\n  rules:\n  - port: http\n",
			[]Mistake{{3, "spec.rules[0].port", `field "spec.rules[0].port" holds a string and wants a whole number`}}},
		{"a number for a string", "spec:\n  rules:\n  - port: 1\n    host: 7\n",
			[]Mistake{{4, "spec.rules[0].host", `field "spec.rules[0].host" holds a number and wants a string`}}},
		{"an object for a list", "spec:\n  rules:\n    host: a\n",
			[]Mistake{{2, "spec.rules", `field "spec.rules" holds an object and wants a list`}}},
		{"a bool for an annotation, as kubectl reads it", "metadata:\n  annotations:\n    a.b/c: d\n    a.b/e: yes\n",
			[]Mistake{{4, "metadata.annotations.a.b/e", `field "metadata.annotations.a.b/e" holds true or false and wants a string`}}},
		{"a field twice", "kind: A\nspec:\n  rules: []\nkind: B\n",
			[]Mistake{{4, "", `key "kind" already set in map`}}},
		{"a field twice in JSON", "{\"kind\": \"A\",\n \"kind\": \"B\"}",
			[]Mistake{{1, "kind", `duplicate field "kind"`}}},
		{"no YAML", "kind: A\nspec: rules: b\n",
			[]Mistake{{2, "", "mapping values are not allowed in this context"}}},
		{"a tab", "kind: A\nspec:\n\trules: b\n",
			[]Mistake{{3, "", "found character that cannot start any token"}}},
		{"a wildcard without quotes", "kind: *.shop.test\n",
			[]Mistake{{1, "", "a value that begins with * or & must be in quotes"}}},
		{"no end", "kind: \"A\nspec:\n",
			[]Mistake{{2, "", "found unexpected end of stream"}}},
		{"NUL", "kind: A\nspec:\x00\n",
			[]Mistake{{2, "", "a NUL character stands here: the file is no text, or was cut off while it was written"}}},
		{"Latin-1", "kind: A\n# caf\xe9\n",
			[]Mistake{{2, "", "the byte 0xE9 is no UTF-8: save the file as UTF-8"}}},
		{"half of UTF-16", "\xff\xfek\x00:\x00\n\x00k",
			[]Mistake{{2, "", "the file is UTF-16, and broken here: save it as UTF-8"}}},
		{"base64 that is none", "kind: A\ndata:\n  a.crt: YWJj\n  b.crt: \"YW*j\"\n",
			[]Mistake{{4, "data.b.crt", `field "data.b.crt" is no base64: character 3 is none of base64's`}}},
		{"base64 that YAML has folded, as an API server takes it", "data:\n  a: >\n    YWJj\n    YWJj\n",
			[]Mistake{{2, "data.a", `field "data.a" is no base64: a space stands at character 5; write it in one line, or in several behind "|"`}}},
		{"base64 in several lines, as an API server takes it", "data:\n  a: |\n    YWJj\n    YWJj\n", nil},
		{"base64 that is cut off", "data:\n  a: YWJ\n",
			[]Mistake{{2, "data.a", `field "data.a" is no base64: its end is missing, or padded wrongly`}}},
		{"PEM where base64 should be", "data:\n  a: |\n    -----BEGIN PRIVATE KEY-----\n",
			[]Mistake{{2, "data.a", `field "data.a" is no base64 but PEM itself: encode it, or write it under "stringData"`}}},
		{"a number for base64", "data: {a: 1234}\n",
			[]Mistake{{1, "data.a", `field "data.a" holds a number and wants a string of base64`}}},
		{"what is encrypted", "data: {a: 'ENC[AES256_GCM,data:x]'}\n",
			[]Mistake{{1, "data.a", `field "data.a" is no base64: it is encrypted by SOPS; decrypt it first`}}},
		{"base64 deeper down", "list: [{text: YWJj}, {text: hunter2*}]\n",
			[]Mistake{{1, "list[1].text", `field "list[1].text" is no base64: character 8 is none of base64's`}}},
		{"no mapping", "just a word\n",
			[]Mistake{{1, "", `the document holds a string and wants an object`}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			documents, got := Split([]byte(test.file))
			for _, d := range documents {
				value, mistakes := d.Read()
				if mistakes == nil {
					mistakes = value.Decode(&shape{})
				}
				got = append(got, mistakes...)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestItemsKnowTheirLines(t *testing.T) {
	documents, _ := Split([]byte("kind: List\nitems:\n- kind: A\n- kind: B\n  spec:\n    rules:\n    - hots: b\n"))
	list, mistakes := documents[0].Read()
	if mistakes != nil {
		t.Fatal(mistakes)
	}
	items, mistakes := list.Items()
	if mistakes != nil || len(items) != 2 {
		t.Fatalf("Items = %d items, %v", len(items), mistakes)
	}
	if line := items[1].Line(""); line != 4 {
		t.Errorf("items[1] stands on line %d, want 4", line)
	}
	want := []Mistake{{7, "spec.rules[0].hots", `unknown field "spec.rules[0].hots"`}}
	if diff := cmp.Diff(want, items[1].Decode(&shape{})); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestLineOfAField(t *testing.T) {
	documents, _ := Split([]byte("# of ours\nmetadata:\n  annotations:\n    a.b/c: d\nspec:\n  rules:\n  - host: a\n    port: 1\n"))
	value, mistakes := documents[0].Read()
	if mistakes != nil {
		t.Fatal(mistakes)
	}
	for field, want := range map[string]int{
		"":                            2,
		"metadata.annotations[a.b/c]": 4,
		"metadata.annotations.a.b/c":  4,
		"spec.rules[0].port":          8,
		"spec.rules[0].absent":        7, // the nearest above
		"spec.rules[7].host":          6,
		"status":                      2,
	} {
		if got := value.Line(field); got != want {
			t.Errorf("%q stands on line %d, want %d", field, got, want)
		}
	}
}

func TestEntries(t *testing.T) {
	got, mistakes := Entries([]byte("# of ours\nhttp-port: 80\naddress: '::'\nhosts: [a, b]\nnested:\n  a: b\n"))
	want := []Entry{
		{Name: "http-port", Values: []string{"80"}, Line: 2},
		{Name: "address", Values: []string{"::"}, Line: 3},
		{Name: "hosts", Values: []string{"a", "b"}, Line: 4},
		{Name: "nested", Line: 5},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if diff := cmp.Diff([]Mistake{{5, "nested", `"nested" wants a plain value`}}, mistakes); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// A manifest reads the same in all encodings of YAML, with and without a byte
// order mark.
func TestEncodings(t *testing.T) {
	const file = "kind: A # café 🧀\n---\nkind: B\n"
	want, _ := Split([]byte(file))
	for _, m := range marks() {
		var wide []byte
		for _, c := range file {
			if m.width == 4 {
				wide = m.order.(binary.AppendByteOrder).AppendUint32(wide, uint32(c))
				continue
			}
			for _, unit := range utf16.Encode([]rune{c}) {
				wide = m.order.(binary.AppendByteOrder).AppendUint16(wide, unit)
			}
		}
		for _, text := range [][]byte{wide, append(slices.Clone(m.prefix), wide...)} {
			got, mistakes := Split(text)
			if diff := cmp.Diff(want, got); diff != "" || mistakes != nil {
				t.Errorf("%s, %s: %v, -want +got:\n%s", m.name, m.order, mistakes, diff)
			}
		}
	}
}

// FuzzRead reads any file without a panic, and all mistakes lie inside the file.
func FuzzRead(f *testing.F) {
	for _, seed := range []string{"\xff\xfea\x00:\x00", "data: {a: x}\n", "a: b\n---\nc: [d, {e: f}]\n", "{\"items\": [{\"a\": 1}]}", "a: &x [*x]\n", "- a\n- 'b\n", "items:\n- spec: {rules: [{port: a}]}\n"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, file []byte) {
		last := strings.Count(string(file), "\n") + 1
		check := func(mistakes []Mistake) {
			for _, m := range mistakes {
				if m.Line < 1 || m.Line > last {
					t.Errorf("a mistake on line %d of %d: %s", m.Line, last, m.Message)
				}
			}
		}
		documents, mistakes := Split(file)
		check(mistakes)
		for _, d := range documents {
			value, mistakes := d.Read()
			check(mistakes)
			if mistakes != nil {
				continue
			}
			check(value.Decode(&shape{}))
			items, mistakes := value.Items()
			check(mistakes)
			for _, item := range items {
				check(item.Decode(&shape{}))
			}
		}
		_, mistakes = Entries(file)
		check(mistakes)
	})
}

package document

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
)

// encodings finds the fields that hold bytes and whose value is not base64. The
// decoder says neither which field it was nor what is wrong. Base64 is read as an
// API server reads it: line breaks are allowed, spaces are not.
func (v Value) encodings(into reflect.Type) []Mistake {
	var root any
	if json.Unmarshal(v.JSON, &root) != nil {
		return nil
	}
	var found []Mistake
	eachBytes(root, into, "", func(field, text string) {
		if fault := base64Fault(text); fault != "" {
			found = append(found, Mistake{Line: v.Line(field), Field: field, Message: fmt.Sprintf("field %q is no base64%s", field, fault)})
		}
	})
	return found
}

// eachBytes visits, in a stable order, every string that must be base64 by its
// type.
func eachBytes(value any, t reflect.Type, path string, visit func(path, text string)) {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch value := value.(type) {
	case string:
		if t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Uint8 && !unmarshals(t) {
			visit(path, value)
		}
	case []any:
		if t.Kind() == reflect.Slice {
			for i, element := range value {
				eachBytes(element, t.Elem(), fmt.Sprintf("%s[%d]", path, i), visit)
			}
		}
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(value)) {
			if field := fieldType(t, key); field != nil {
				eachBytes(value[key], field, join(path, key), visit)
			}
		}
	}
}

func unmarshals(t reflect.Type) bool {
	return reflect.PointerTo(t).Implements(reflect.TypeFor[json.Unmarshaler]())
}

// fieldType is the type of the value under a key, or nil if it is unknown.
func fieldType(t reflect.Type, key string) reflect.Type {
	switch t.Kind() {
	case reflect.Map:
		return t.Elem()
	case reflect.Struct:
		if unmarshals(t) {
			return nil
		}
		for _, field := range reflect.VisibleFields(t) {
			if name, _, _ := strings.Cut(field.Tag.Get("json"), ","); name == key {
				return field.Type
			}
		}
	default: // has no keys
	}
	return nil
}

// base64Fault says why a text is not base64, without quoting the text.
func base64Fault(text string) string {
	_, err := base64.StdEncoding.DecodeString(text)
	var at base64.CorruptInputError
	switch {
	case err == nil:
		return ""
	case strings.HasPrefix(text, "ENC["):
		return ": it is encrypted by SOPS; decrypt it first"
	case strings.HasPrefix(strings.TrimSpace(text), "-----BEGIN "):
		return ` but PEM itself: encode it, or write it under "stringData"`
	case strings.Contains(text, "{{"):
		return ": it is a template, which must be rendered first"
	case !errors.As(err, &at):
		return ": " + err.Error()
	}
	rest := []byte(text[min(int(at), len(text)):])
	switch {
	case len(bytes.TrimRight(rest, "=\r\n")) == 0 || len(strings.Trim(text, alphabet)) == 0:
		return ": its end is missing, or padded wrongly"
	case rest[0] == ' ' || rest[0] == '\t':
		return fmt.Sprintf(`: a space stands at character %d; write it in one line, or in several behind "|"`, int(at)+1)
	}
	return fmt.Sprintf(": character %d is none of base64's", int(at)+1)
}

const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=\r\n"

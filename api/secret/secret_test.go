package secret_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/fairwaynet/fairway/api/secret"
)

type holder struct {
	Shown  secret.Bytes
	hidden secret.Bytes
	deep   *holder
	list   []secret.Bytes
}

func TestASecretDoesNotShow(t *testing.T) {
	const text = "correct horse"
	s := secret.New([]byte(text))
	h := holder{Shown: s, hidden: s, deep: &holder{hidden: s}, list: []secret.Bytes{s}}
	var out bytes.Buffer
	for _, value := range []any{s, &s, h, &h, []secret.Bytes{s}, map[string]secret.Bytes{"key": s}, fmt.Errorf("read %v: %w", s, errors.New("x"))} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%t", "%p"} {
			fmt.Fprintf(&out, verb+"\n", value)
		}
		text, err := json.Marshal(value)
		if err != nil {
			t.Fatal(err)
		}
		out.Write(text)
		slog.New(slog.NewTextHandler(&out, nil)).Info("said", "value", value)
		slog.New(slog.NewJSONHandler(&out, nil)).Info("said", "value", value)
	}
	for _, leak := range []string{text, fmt.Sprintf("%x", text), fmt.Sprintf("%X", text), fmt.Sprintf("%v", []byte(text)), "0x63, 0x6f", "Y29ycmVjdA"} {
		if strings.Contains(out.String(), leak) {
			t.Errorf("%q shows in\n%s", leak, out.String())
		}
	}
	if string(s.Reveal()) != text {
		t.Error("it is not there for whom it is for")
	}
}

func TestSecretsAreEqualByWhatTheyHold(t *testing.T) {
	a, b, c := secret.New([]byte("a")), secret.New([]byte("a")), secret.New([]byte("c"))
	if !a.Equal(b) || a.Equal(c) || a.Equal(secret.Bytes{}) || !(secret.Bytes{}).Equal(secret.Bytes{}) {
		t.Error("compared wrongly")
	}
}

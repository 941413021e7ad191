package gateway

import (
	"crypto/x509/pkix"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	testauthority "github.com/fairwaynet/fairway/test/authority"
)

// Envoy gets no files of which it, or we, would read a part only.
func TestFilesCountWhole(t *testing.T) {
	ca, err := testauthority.New("roots", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	identity, err := ca.Issue(pkix.Name{CommonName: "gateway"}, []string{"gateway.test"})
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name, file string
		change     func(text string) string
		want       string // what is wrong; empty: nothing
	}{
		{"whole", "ca.crt", strings.Clone, ""},
		{"words before it", "ca.crt", func(text string) string { return "# of ours\n" + text }, ""},
		{"a damaged second authority", "ca.crt", func(text string) string { return text + strings.Replace(text, "\nMII", "\n*II", 1) }, "is no base64"},
		{"a chain that is cut off", "tls.crt", func(text string) string { return text + text[:100] }, "the rest of it is missing"},
		{"a damaged key", "tls.key", func(text string) string { return strings.Replace(text, "\n", "\n*", 1) }, "the key cannot be read: block 1"},
		{"a byte order mark", "tls.crt", func(text string) string { return "\ufeff" + text }, "tls.crt: write it without a byte order mark"},
		{"no line break between two", "ca.crt", func(text string) string { return strings.TrimSpace(text) + text }, "ca.crt: write it without"},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			for name, text := range map[string][]byte{"ca.crt": ca.PEM(), "tls.crt": identity.Certificate, "tls.key": identity.Key} {
				if name == test.file {
					text = []byte(test.change(string(text)))
				}
				if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			files := &TLS{CA: dir + "/ca.crt", Certificate: dir + "/tls.crt", Key: dir + "/tls.key", ServerName: "controller.test"}
			err := files.check()
			if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Errorf("check: %v, want %q", err, test.want)
			}
		})
	}
}

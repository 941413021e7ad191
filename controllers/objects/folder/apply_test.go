package folder

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/fairwaynet/fairway/test/cluster"
)

// Base64 in a Secret is read as an API server reads it, in whatever form YAML
// has brought it.
func TestBase64CountsAsInACluster(t *testing.T) {
	c := cluster.Start(t, cluster.Options{})
	for name, value := range map[string]string{
		"one-line":       `YWJjYWJj`,
		"lines":          "|\n    YWJj\n    YWJj",
		"folded":         ">\n    YWJj\n    YWJj",
		"quoted-lines":   "\"YWJj\n    YWJj\"",
		"line-break":     `"YWJj\r\nYWJj\n"`,
		"space":          `"YWJj YWJj"`,
		"space-behind":   `"YWJj "`,
		"tab":            `"YWJj\tYWJj"`,
		"short":          `YWJ`,
		"too-much":       `YWJj=`,
		"padding-inside": `YQ==YWJj`,
		"of-urls":        `_-8=`,
		"pem":            "|\n    -----BEGIN CERTIFICATE-----\n    AAAA\n    -----END CERTIFICATE-----",
		"empty":          `""`,
		"nothing":        ``,
		"number":         `1234`,
	} {
		t.Run(name, func(t *testing.T) {
			manifest := fmt.Sprintf("apiVersion: v1\nkind: Secret\nmetadata: {name: %s}\ndata:\n  key: %s\n", name, value)
			output, err := c.TryKubectl(manifest, "apply", "-f", "-")
			file := filepath.Join(t.TempDir(), "secret.yaml")
			write(t, file, manifest)
			problems := describeProblems(open(t, file))
			t.Logf("kubectl: %s\ncheck: %s", output, problems)
			if (err == nil) != (problems == "") {
				t.Errorf("kubectl apply: %v\nhere: %q", err, problems)
			}
		})
	}
}

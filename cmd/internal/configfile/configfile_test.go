package configfile_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"github.com/fairwaynet/fairway/cmd/internal/configfile"
)

func TestRead(t *testing.T) {
	for _, test := range []struct {
		name, file, want string
		args             []string
		wrong            string // part of the error; empty: no error
	}{
		{name: "the file sets a flag", file: "\nname: file\n", want: "file"},
		{name: "the command line wins", file: "name: file\n", args: []string{"--name=flag"}, want: "flag"},
		{name: "a key that is no flag", file: "# ours\nnaem: file\n", wrong: `:2: unknown setting "naem"; did you mean "name"?`},
		{name: "a list for one value", file: "name: [a, b]\n", wrong: ":1: name: want one value, have 2"},
	} {
		t.Run(test.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "settings.yaml")
			if err := os.WriteFile(path, []byte(test.file), 0o600); err != nil {
				t.Fatal(err)
			}
			flags := pflag.NewFlagSet("test", pflag.ContinueOnError)
			name := flags.String("name", "default", "")
			if err := flags.Parse(test.args); err != nil {
				t.Fatal(err)
			}
			places, err := configfile.Read(path, flags)
			if test.wrong != "" {
				if err == nil || !strings.Contains(err.Error(), path+test.wrong) {
					t.Errorf("error %v, want %q", err, test.wrong)
				}
				return
			}
			if err != nil || *name != test.want {
				t.Errorf("name %q, %v; want %q", *name, err, test.want)
			}
			if place := places["name"]; test.want == "file" && place != path+":2" {
				t.Errorf("the setting is at %q", place)
			}
		})
	}
}

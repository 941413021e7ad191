// Package configfile reads a process's settings from a YAML file whose keys are the names
// of its flags.
//
// A new flag is a new key. It knows by name only --config and --help, which a file cannot
// set. Its invariant: the command line
// wins over the file, and the file over the default.
package configfile

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/pflag"

	"github.com/fairwaynet/fairway/api/document"
)

// Read sets flags from the file at path, except those that were given on the command
// line. It returns the place of each setting from the file, as file:line, by the name of
// the flag. Its errors name file and line.
func Read(path string, flags *pflag.FlagSet) (places map[string]string, err error) {
	file, err := readAtMost(path, maxSize)
	if err != nil {
		return nil, fmt.Errorf("read --config: %w", err)
	}
	places = map[string]string{}
	entries, mistakes := document.Entries(file)
	var wrong []error
	for _, m := range mistakes {
		wrong = append(wrong, fmt.Errorf("%s:%d: %s", path, m.Line, m.Message))
	}
	for _, entry := range entries {
		if err := set(flags, entry, path, places); err != nil {
			wrong = append(wrong, fmt.Errorf("%s:%d: %w", path, entry.Line, err))
		}
	}
	return places, errors.Join(wrong...)
}

// maxSize limits the size of a configuration file, so that a wrong path, such
// as that of a device, cannot fill the memory.
const maxSize = 1 << 20

func readAtMost(path string, most int64) (text []byte, err error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	text, err = io.ReadAll(io.LimitReader(file, most+1))
	if int64(len(text)) > most {
		return nil, fmt.Errorf("%s has more than %d bytes: it cannot be a settings file", path, most)
	}
	return text, err
}

func set(flags *pflag.FlagSet, entry document.Entry, path string, places map[string]string) error {
	flag := flags.Lookup(entry.Name)
	if flag == nil || entry.Name == "config" || entry.Name == "help" {
		return fmt.Errorf("unknown setting %q%s", entry.Name, suggestion(flags, entry.Name))
	}
	if flag.Changed {
		return nil
	}
	places[flag.Name] = fmt.Sprintf("%s:%d", path, entry.Line)
	if list, ok := flag.Value.(pflag.SliceValue); ok {
		return list.Replace(entry.Values)
	}
	if len(entry.Values) != 1 {
		return fmt.Errorf("%s: want one value, have %d", entry.Name, len(entry.Values))
	}
	if err := flag.Value.Set(entry.Values[0]); err != nil {
		return fmt.Errorf("%s: %q: %w", entry.Name, entry.Values[0], err)
	}
	return nil
}

// suggestion names the setting that the user probably meant.
func suggestion(flags *pflag.FlagSet, name string) string {
	folded := func(s string) string { return strings.ToLower(strings.NewReplacer("-", "", "_", "").Replace(s)) }
	best, least := "", 3 // at most two letters differ
	flags.VisitAll(func(f *pflag.Flag) {
		if d := distance(folded(name), folded(f.Name)); d < least {
			best, least = f.Name, d
		}
	})
	if best == "" {
		return ""
	}
	return fmt.Sprintf("; did you mean %q?", best)
}

// distance is the Levenshtein distance: the number of letters to add, drop or
// change.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

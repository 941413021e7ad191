package main

import (
	"flag"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func TestCheck(t *testing.T) { testCases(t, "check") }

// testCases runs the cases of a command. A case is a sentence, the arguments
// ("args", "stdin"), the files, and the expected output.
func testCases(t *testing.T, command string) {
	t.Helper()
	here, err := filepath.Abs(filepath.Join("testdata", command))
	if err != nil {
		t.Fatal(err)
	}
	cases, err := filepath.Glob(filepath.Join(here, "*.txtar"))
	if err != nil || cases == nil {
		t.Fatalf("no cases: %v", err)
	}
	for _, path := range cases {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(path)
			if err != nil {
				t.Fatal(err)
			}
			t.Chdir(t.TempDir())
			want := said{}
			var args []string
			var stdin string
			for _, f := range archive.Files {
				switch text := string(f.Data); f.Name {
				case "args":
					args = strings.Fields(text)
				case "stdin":
					stdin = text
				case "out":
					want.Out = text
				case "err":
					want.Err = text
				case "code":
					if want.Code, err = strconv.Atoi(strings.TrimSpace(text)); err != nil {
						t.Fatal(err)
					}
				default:
					put(t, f.Name, text)
				}
			}
			got := ran(t, stdin, append([]string{command}, args...)...)
			if *update {
				rewrite(t, path, archive, got)
				return
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// check does not read a path that looks like a manifest but is not a regular
// file, because reading it could block forever. check says so.
func TestCheckOfAPipe(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mkfifo(filepath.Join(dir, "pipe.yaml"), 0o600); err != nil {
		t.Fatal(err)
	}
	got := ran(t, "", "check", dir)
	if got.Code != 1 || !strings.Contains(got.Out, "pipe.yaml: UnreadableFile: is neither a file nor a folder, and is not read") {
		t.Errorf("says %+v", got)
	}
}

func TestTheExamplesHaveNoProblems(t *testing.T) {
	if got := ran(t, "", "check", "../../examples"); got.Code != 0 || got.Out != "" {
		t.Errorf("says %+v", got)
	}
}

func rewrite(t *testing.T, path string, archive *txtar.Archive, got said) {
	t.Helper()
	var files []txtar.File
	for _, f := range archive.Files {
		if f.Name != "out" && f.Name != "err" && f.Name != "code" {
			files = append(files, f)
		}
	}
	archive.Files = append(files,
		txtar.File{Name: "out", Data: []byte(got.Out)},
		txtar.File{Name: "err", Data: []byte(got.Err)},
		txtar.File{Name: "code", Data: []byte(strconv.Itoa(got.Code) + "\n")})
	if err := os.WriteFile(path, txtar.Format(archive), 0o644); err != nil {
		t.Fatal(err)
	}
}

func put(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

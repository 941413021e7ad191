package rootfs

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// lines lists a tar file: type, mode, owner, time, name, and content or target.
func lines(t *testing.T, archive []byte) string {
	t.Helper()
	var all strings.Builder
	for files := tar.NewReader(bytes.NewReader(archive)); ; {
		header, err := files.Next()
		if errors.Is(err, io.EOF) {
			return all.String()
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(files)
		if err != nil {
			t.Fatal(err)
		}
		owner := "root"
		if header.Uid != 0 || header.Gid != 0 {
			owner = "someone"
		}
		for _, part := range []string{
			header.FileInfo().Mode().String(), owner, header.ModTime.UTC().Format(time.DateOnly),
			header.Name, header.Linkname + string(content),
		} {
			all.WriteString(part + " ")
		}
		all.WriteString("\n")
	}
}

func write(t *testing.T, tree Tree) []byte {
	t.Helper()
	var archive bytes.Buffer
	if err := tree.Write(&archive); err != nil {
		t.Fatal(err)
	}
	return archive.Bytes()
}

func TestATreeIsATarFile(t *testing.T) {
	from := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(from, []byte("run"), 0o600); err != nil {
		t.Fatal(err)
	}
	tree := Tree{
		"/etc/passwd":      Text("root\n"),
		"/usr/bin/program": Program(from),
		"/usr/bin/alias":   Link("program"),
		"/usr":             {Mode: fs.ModeDir | 0o755, Time: time.Unix(1e9, 0)},
		"/tmp":             Folder(fs.ModeSticky | 0o777),
	}
	want := `drwxr-xr-x root 1970-01-01 etc/  
-rw-r--r-- root 1970-01-01 etc/passwd root
 
dtrwxrwxrwx root 1970-01-01 tmp/  
drwxr-xr-x root 2001-09-09 usr/  
drwxr-xr-x root 1970-01-01 usr/bin/  
Lrwxrwxrwx root 1970-01-01 usr/bin/alias program 
-rwxr-xr-x root 1970-01-01 usr/bin/program run 
`
	archive := write(t, tree)
	if diff := cmp.Diff(want, lines(t, archive)); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if !bytes.Equal(archive, write(t, tree)) {
		t.Error("the same tree is another file the second time")
	}
}

func TestAWrongEntryIsNamed(t *testing.T) {
	for at, file := range map[string]File{
		"relative":     Text(""),
		"/a/../b":      Text(""),
		"/":            Folder(0o755),
		"/dev/null":    {Mode: fs.ModeDevice},
		"/a/folder":    Copy(t.TempDir()),
		"/is/not/here": Copy("/nothing/here"),
	} {
		if err := (Tree{at: file}).Write(io.Discard); err == nil || !strings.Contains(err.Error(), at) {
			t.Errorf("%s: %v, want an error that names it", at, err)
		}
	}
}

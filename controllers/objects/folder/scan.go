package folder

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Limits bound what is read. A zero field has its default.
type Limits struct {
	Depth    int   // of folders in folders; 16
	Files    int   // 20,000
	FileSize int64 // bytes; 64 MiB
}

func (l Limits) withDefaults() Limits {
	if l.Depth <= 0 {
		l.Depth = 16
	}
	if l.Files <= 0 {
		l.Files = 20_000
	}
	if l.FileSize <= 0 {
		l.FileSize = 64 << 20
	}
	return l
}

// listing is what a walk has found.
type listing struct {
	files map[string]fs.FileInfo
	// folders are the folders to watch for changes, by real path. False means that
	// only the paths themselves matter there.
	folders map[string]bool
	// dark are files and folders that cannot be read. What they held is unknown,
	// which is not the same as gone.
	dark map[string]error
	// full says that there are more files than may be read.
	full   bool
	walked map[string]bool // folders, by real path
}

// walk lists all manifests under the paths, without reading them. It walks a
// folder once, even if several ways lead to it.
func walk(paths []string, limits Limits) *listing {
	l := &listing{files: map[string]fs.FileInfo{}, folders: map[string]bool{}, dark: map[string]error{}, walked: map[string]bool{}}
	for _, path := range paths {
		// The folder above tells when the path is replaced or comes back.
		if above, err := filepath.EvalSymlinks(filepath.Dir(filepath.Clean(path))); err == nil {
			if _, known := l.folders[above]; !known {
				l.folders[above] = false
			}
		}
		info, err := os.Stat(path)
		switch {
		case err != nil:
			l.dark[path] = plain(err)
		case info.IsDir():
			l.folder(path, limits.Depth, limits)
		default:
			l.file(path, info, limits)
		}
	}
	return l
}

func (l *listing) folder(path string, depth int, limits Limits) {
	resolved, err := filepath.EvalSymlinks(path)
	if err != nil {
		l.dark[path] = plain(err)
		return
	}
	if l.walked[resolved] {
		return
	}
	l.walked[resolved], l.folders[resolved] = true, true
	if depth == 0 {
		l.dark[path] = fmt.Errorf("is more than %d folders deep and is not read", limits.Depth)
		return
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		l.dark[path] = plain(err)
		return
	}
	for _, entry := range entries {
		name := filepath.Join(path, entry.Name())
		if strings.HasPrefix(entry.Name(), ".") {
			continue
		}
		info, err := os.Stat(name) // follows links
		switch {
		case errors.Is(err, fs.ErrNotExist) && entry.Type()&fs.ModeSymlink == 0:
			// gone since
		case err != nil && isManifest(name):
			l.dark[name] = plain(err)
		case err != nil:
		case info.IsDir():
			l.folder(name, depth-1, limits)
		case isManifest(name) && !info.Mode().IsRegular():
			l.dark[name] = errors.New("is neither a file nor a folder, and is not read")
		case isManifest(name):
			l.file(name, info, limits)
			if entry.Type()&fs.ModeSymlink != 0 {
				if target, err := filepath.EvalSymlinks(name); err == nil {
					l.folders[filepath.Dir(target)] = true
				}
			}
		}
	}
}

func (l *listing) file(path string, info fs.FileInfo, limits Limits) {
	switch {
	case l.full:
	case info.Size() > limits.FileSize:
		l.dark[path] = fmt.Errorf("has %d bytes, more than the %d that are read", info.Size(), limits.FileSize)
	case len(l.files) >= limits.Files:
		l.full = true
		l.dark[path] = fmt.Errorf("is beyond the %d files that are read, and so is what comes after it", limits.Files)
	default:
		l.files[path] = info
	}
}

// isDark reports whether the fate of a file is unknown.
func (l *listing) isDark(file string) bool {
	for path := range l.dark {
		if isIn(path, file) {
			return true
		}
	}
	return l.full
}

// isIn reports whether a file is path, or is below it.
func isIn(path, file string) bool {
	return file == path || strings.HasPrefix(file, strings.TrimSuffix(path, "/")+"/")
}

func (l *listing) sortedFiles() []string { return slices.Sorted(maps.Keys(l.files)) }

func isManifest(name string) bool {
	switch strings.ToLower(filepath.Ext(name)) {
	case ".yaml", ".yml", ".json":
		return true
	}
	return false
}

// readFile reads a file of bounded size.
func readFile(path string, limit int64) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, plain(err)
	}
	text, err := readBounded(file, limit)
	return text, errors.Join(err, file.Close())
}

func readBounded(from io.Reader, limit int64) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(from, limit+1))
	switch {
	case err != nil:
		return nil, plain(err)
	case int64(len(text)) > limit:
		return nil, fmt.Errorf("has more than the %d bytes that are read", limit)
	}
	return text, nil
}

// plain returns an error without the path, which the message names anyway.
func plain(err error) error {
	if path := (*fs.PathError)(nil); errors.As(err, &path) {
		return fmt.Errorf("cannot be read: %w", path.Err)
	}
	return fmt.Errorf("cannot be read: %w", err)
}

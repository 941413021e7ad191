package folder

import (
	"context"
	"path/filepath"
	"slices"
	"time"

	"github.com/fsnotify/fsnotify"
)

const (
	// quiet is how long nothing must happen before the files are scanned: an
	// editor writes a file in several steps, a checkout writes many files.
	// patience is how long that may delay a scan.
	quiet    = 50 * time.Millisecond
	patience = 300 * time.Millisecond
	// The files are scanned now and then even without an event, because some file
	// systems do not report every change.
	rescan = 2 * time.Second
)

// watch scans the files whenever something happens to them, until ctx ends.
func (c *Cache) watch(ctx context.Context) {
	w := &watcher{cache: c, watched: map[string]bool{}}
	notifier, err := fsnotify.NewWatcher()
	if err != nil {
		w.warn("", err)
	} else {
		defer func() { _ = notifier.Close() }() // closing loses nothing
		w.notifier = notifier
	}
	w.look(ctx)
	w.run(ctx)
}

type watcher struct {
	cache    *Cache
	notifier *fsnotify.Watcher // nil: the kernel reports nothing
	watched  map[string]bool   // as listing.folders
	touched  map[string]bool   // since the last look
	warned   bool
}

func (w *watcher) run(ctx context.Context) {
	var events <-chan fsnotify.Event
	var lost <-chan error
	if w.notifier != nil {
		events, lost = w.notifier.Events, w.notifier.Errors
	}
	ticker := time.NewTicker(rescan)
	defer ticker.Stop()
	var settled, latest <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case e := <-events:
			e.Name = filepath.Clean(e.Name) // of "./a.yaml"
			if !w.concerns(e) {
				continue
			}
			if w.touched == nil {
				w.touched = map[string]bool{}
				latest = time.After(patience)
			}
			w.touched[e.Name] = true
			settled = time.After(quiet)
			continue
		case err := <-lost:
			w.cache.options.Log.V(1).Info("the kernel lost count of changes", "error", err.Error())
		case <-settled:
		case <-latest:
		case <-ticker.C:
			if w.touched != nil {
				continue // a scan comes soon
			}
		}
		settled, latest = nil, nil
		w.look(ctx)
	}
}

// concerns reports whether an event may change what is read. A watched folder that
// comes or goes must be watched anew: the kernel watches the folder, not its name.
func (w *watcher) concerns(e fsnotify.Event) bool {
	if _, ok := w.watched[e.Name]; ok && e.Op&(fsnotify.Create|fsnotify.Remove|fsnotify.Rename) != 0 {
		_ = w.notifier.Remove(e.Name) // the kernel may have done that
		delete(w.watched, e.Name)
		return true
	}
	if all, ok := w.watched[filepath.Dir(e.Name)]; !ok || all {
		return true
	}
	return slices.ContainsFunc(w.cache.options.Paths, func(path string) bool {
		return filepath.Base(path) == filepath.Base(e.Name)
	})
}

// look scans the files, and once more if there are new folders: files may have
// come into them before they were watched.
func (w *watcher) look(ctx context.Context) {
	touched := w.touched
	w.touched = nil
	for w.follow(w.cache.scan(ctx, touched)) && ctx.Err() == nil {
		touched = nil
	}
}

// follow watches the given folders and no others. It reports whether any are new.
func (w *watcher) follow(folders map[string]bool) bool {
	if w.notifier == nil {
		return false
	}
	for folder := range w.watched {
		if _, ok := folders[folder]; !ok {
			_ = w.notifier.Remove(folder) // the kernel may have done that
			delete(w.watched, folder)
		}
	}
	added := false
	for folder, all := range folders {
		if _, ok := w.watched[folder]; ok {
			w.watched[folder] = all
			continue
		}
		if err := w.notifier.Add(folder); err != nil {
			w.warn(folder, err)
			continue
		}
		w.watched[folder] = all
		added = true
	}
	return added
}

// warn logs once that some changes will be noticed late.
func (w *watcher) warn(folder string, err error) {
	if !w.warned {
		w.warned = true
		w.cache.options.Log.Info("changes in a folder are noticed late: it cannot be watched",
			"folder", folder, "every", rescan, "error", err.Error())
	}
}

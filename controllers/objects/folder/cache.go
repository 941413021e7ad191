package folder

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"

	"github.com/fairwaynet/fairway/api/problem"
	"github.com/fairwaynet/fairway/controllers/objects/index"
)

// Reporter hears what is wrong with the files, from Start on, whenever that
// changes.
type Reporter interface {
	// Report replaces the key's last report.
	Report(ctx context.Context, key any, problems []problem.Problem)
}

// Options say what is read.
type Options struct {
	// Paths are folders and files. "-" is standard input, read once.
	Paths    []string
	Stdin    io.Reader
	Reporter Reporter // may be nil
	Log      logr.Logger
	Limits   Limits
	// Now is the clock; nil: time.Now.
	Now func() time.Time
}

// Cache holds the objects of the files, as of a moment ago.
type Cache struct {
	cache.Cache
	options Options
	store   *store
	scheme  *runtime.Scheme
	input   []byte // from standard input

	reported bool // at least once; only the goroutine that scans uses it

	mu       sync.Mutex
	tree     *tree
	merged   bool // at least once
	problems []problem.Problem
}

// reportKey is the Reporter's key of a Cache.
type reportKey struct{ cache *Cache }

// New reads the files once. It returns an error if one of the paths cannot be read
// at all: the caller asked for that path. What is wrong inside the files is in
// Problems.
func New(options Options) (*Cache, error) {
	if options.Now == nil {
		options.Now = time.Now
	}
	scheme, err := index.Scheme()
	if err != nil {
		return nil, err
	}
	c := &Cache{options: options, store: newStore(), scheme: scheme}
	var paths []string
	var input bool
	for _, path := range options.Paths {
		if path == "-" {
			input = true
			continue
		}
		paths = append(paths, path)
	}
	c.tree = newTree(paths, options.Limits)
	if input {
		text, err := readBounded(options.Stdin, c.tree.limits.FileSize)
		if err != nil {
			return nil, fmt.Errorf("standard input %w", err)
		}
		c.input = text
		c.tree.take(stdin, text)
	}
	c.look(nil)
	if err := c.unread(paths); err != nil {
		return nil, err
	}
	c.Cache, err = c.informers()
	return c, err
}

// unread returns an error if one of the paths themselves could not be read.
func (c *Cache) unread(paths []string) error {
	var wrong []error
	for _, path := range paths {
		if err := c.tree.dark[path]; err != nil {
			wrong = append(wrong, fmt.Errorf("%s %w", path, err))
		}
	}
	return errors.Join(wrong...)
}

// informers makes controller-runtime's own informers over our store. Nothing ever
// talks to the host of the configuration, which cache.New demands.
func (c *Cache) informers() (cache.Cache, error) {
	mapper := meta.NewDefaultRESTMapper(nil)
	for _, k := range kinds() {
		scope := meta.RESTScopeRoot
		if k.namespaced {
			scope = meta.RESTScopeNamespace
		}
		mapper.Add(k.GroupVersionKind, scope)
	}
	return cache.New(&rest.Config{Host: "http://folder.invalid"}, cache.Options{
		Scheme: c.scheme,
		Mapper: mapper,
		NewInformer: func(_ toolscache.ListerWatcher, object runtime.Object, resync time.Duration, indexers toolscache.Indexers) toolscache.SharedIndexInformer {
			kind, _ := apiutil.GVKForObject(object.(client.Object), c.scheme) // the cache has just done the same
			return toolscache.NewSharedIndexInformer(listWatch{c.store, kind, c.scheme}, object, resync, indexers)
		},
	})
}

// Start keeps the objects up to date with the files until ctx ends.
func (c *Cache) Start(ctx context.Context) error {
	var watching sync.WaitGroup
	watching.Go(func() { c.watch(ctx) })
	err := c.Cache.Start(ctx)
	watching.Wait()
	c.store.watches.Wait()
	return err
}

// Live reads the objects as of the last scan of the files. The informers will have
// them in a moment.
func (c *Cache) Live() client.Reader { return live{c.store, c.scheme} }

// Problems returns what is wrong with the files now.
func (c *Cache) Problems() []problem.Problem {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.problems
}

// scan reads the changed files and returns the folders to watch for changes. Only
// one goroutine at a time may call it.
func (c *Cache) scan(ctx context.Context, touched map[string]bool) map[string]bool {
	folders, changed := c.look(touched)
	if (changed || !c.reported) && c.options.Reporter != nil {
		c.options.Reporter.Report(ctx, reportKey{c}, c.Problems())
		c.reported = true
	}
	return folders
}

func (c *Cache) look(touched map[string]bool) (folders map[string]bool, changed bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	changed, folders = c.tree.scan(c.options.Now(), touched)
	if !changed && c.merged {
		return folders, false
	}
	objects, problems := c.tree.merge()
	c.problems, c.merged = problems, true
	if c.store.set(objects) {
		c.options.Log.V(1).Info("files were read", "files", len(c.tree.files), "objects", len(objects), "problems", len(problems))
	}
	return folders, true
}

// PassedOver returns what the files hold that is not read, by file and line.
func (c *Cache) PassedOver() []PassedOver {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := c.tree.passedOver()
	slices.SortStableFunc(all, func(a, b PassedOver) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line))
	})
	return all
}

func labelsOf(object runtime.Object) labels.Set {
	accessor, err := meta.Accessor(object)
	if err != nil {
		return nil
	}
	return accessor.GetLabels()
}

package nft_test

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/fairwaynet/fairway/proxy/nft"
	"github.com/fairwaynet/fairway/test/netns"
)

func TestMain(m *testing.M) { netns.Main(m) }

// run runs nft(8), which stands for everybody else on the machine. A test that
// needs it fails without it.
func run(t testing.TB, arguments ...string) string {
	t.Helper()
	out, err := try(t.Context(), arguments...)
	if err != nil {
		t.Fatalf("nft %s: %v\n%s", strings.Join(arguments, " "), err, out)
	}
	return out
}

func try(ctx context.Context, arguments ...string) (string, error) {
	path, err := exec.LookPath("nft")
	if err != nil {
		path = "/usr/sbin/nft"
	}
	out, err := exec.CommandContext(ctx, path, arguments...).CombinedOutput()
	return string(out), err
}

// open makes an engine of tables, which are removed after the test.
func open(t testing.TB, options nft.Options, tables ...nft.Table) *nft.Engine {
	t.Helper()
	e, err := nft.New(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	closed := false
	t.Cleanup(func() {
		if !closed {
			_ = e.Close() // a test may have closed it
		}
	})
	for _, table := range tables {
		if err := e.Declare(table); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { purge(t, table.Key()) })
	}
	return e
}

// purge deletes a table after its engine has gone.
func purge(t testing.TB, k nft.TableKey) {
	_, _ = try(context.WithoutCancel(t.Context()), "delete", "table", k.Family.String(), k.Name) // it may be gone
}

func submit(t testing.TB, e *nft.Engine, k nft.TableKey, key nft.Key, part nft.Part) {
	t.Helper()
	if err := e.Submit(k, key, part); err != nil {
		t.Fatal(err)
	}
}

// commit expects that everything is taken.
func commit(t testing.TB, e *nft.Engine) nft.Result {
	t.Helper()
	result, err := e.Commit(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range result.Refused {
		t.Fatalf("%s refused: %v", r.Key, r.Err)
	}
	return result
}

func complete(t testing.TB, e *nft.Engine, k nft.TableKey) {
	t.Helper()
	if err := e.Complete(k); err != nil {
		t.Fatal(err)
	}
}

// golden compares with a file of testdata, or rewrites it if UPDATE is set.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if os.Getenv("UPDATE") != "" {
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-file +nft):\n%s", path, diff)
	}
}

// sorted puts the elements of each set of a listing in order: the kernel gives
// them by a hash with a seed of its own.
func sorted(listing string) string {
	return regexp.MustCompile(`(?s)elements = \{ (.*?) \}`).ReplaceAllStringFunc(listing, func(list string) string {
		list = strings.TrimSuffix(strings.TrimPrefix(list, "elements = { "), " }")
		elements := strings.Split(list, ",")
		for i := range elements {
			elements[i] = strings.TrimSpace(elements[i])
		}
		slices.Sort(elements)
		return "elements = { " + strings.Join(elements, ",\n\t\t\t     ") + " }"
	})
}

func addr(s string) nft.Value { return nft.Addr(netip.MustParseAddr(s)) }

func prefix(s string) nft.Element { return nft.Prefix(netip.MustParsePrefix(s)) }

// body is what a table holds, in order of names, without its own name and flags.
func body(t testing.TB, k nft.TableKey) string {
	t.Helper()
	_, listing, _ := strings.Cut(list(t, k), "\n")
	blocks := strings.Split(strings.TrimSuffix(listing, "}\n"), "\t}\n")
	for i, b := range blocks {
		b = strings.TrimLeft(b, "\n")
		if strings.HasPrefix(b, "\tflags") {
			_, b, _ = strings.Cut(b, "\n")
		}
		blocks[i] = strings.TrimLeft(b, "\n")
	}
	slices.Sort(blocks)
	return strings.Join(blocks, "")
}

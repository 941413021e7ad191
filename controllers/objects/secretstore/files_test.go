package secretstore

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/fairwaynet/fairway/controllers/objects/folder"
)

func secretOf(name, value string) *corev1.Secret {
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, Labels: map[string]string{"ours": "true"}},
		Type:       "fairway.dev/test", Data: map[string][]byte{"key": []byte(value)},
	}
}

// stores are all Stores: they behave alike.
func stores(t *testing.T) map[string]Store {
	t.Helper()
	cluster := fake.NewClientBuilder().Build()
	files, err := OpenFiles(filepath.Join(t.TempDir(), "state"), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := files.Close(); err != nil {
			t.Error(err)
		}
	})
	return map[string]Store{"cluster": Cluster{Live: cluster, Writer: cluster}, "files": files}
}

func TestStores(t *testing.T) {
	for name, store := range stores(t) {
		t.Run(name, func(t *testing.T) { testStore(t.Context(), t, store) })
	}
}

func testStore(ctx context.Context, t *testing.T, store Store) {
	name := types.NamespacedName{Namespace: "shop", Name: "a.b"}
	get := func() *corev1.Secret {
		t.Helper()
		secret, err := store.Get(ctx, name)
		if err != nil {
			t.Fatal(err)
		}
		return secret
	}
	if get() != nil {
		t.Fatal("there is one before it was made")
	}
	if err := store.Create(ctx, secretOf("a.b", "one")); err != nil {
		t.Fatal(err)
	}
	if err := store.Create(ctx, secretOf("a.b", "two")); !apierrors.IsAlreadyExists(err) {
		t.Errorf("made twice: %v", err)
	}
	old := get()
	fresh := get()
	fresh.Data["key"] = []byte("two")
	if err := store.Update(ctx, fresh); err != nil {
		t.Fatal(err)
	}
	old.Data["key"] = []byte("three")
	if err := store.Update(ctx, old); !apierrors.IsConflict(err) {
		t.Errorf("an older version was written: %v", err)
	}
	if err := store.Delete(ctx, old); !apierrors.IsConflict(err) {
		t.Errorf("an older version was deleted: %v", err)
	}
	fresh.Data["key"] = []byte("four") // its version is the one that was written
	if err := store.Update(ctx, fresh); err != nil {
		t.Errorf("what was written cannot be written on: %v", err)
	}
	if err := store.Create(ctx, secretOf("c", "c")); err != nil {
		t.Fatal(err)
	}
	other := secretOf("d", "d")
	other.Labels = nil
	if err := store.Create(ctx, other); err != nil {
		t.Fatal(err)
	}
	if all, err := store.List(ctx, "shop", "ours"); err != nil || len(all) != 2 || string(all[0].Data["key"]) != "four" {
		t.Errorf("listed %d: %v", len(all), err)
	}
	if err := store.Delete(ctx, get()); err != nil {
		t.Fatal(err)
	}
	if err := store.Delete(ctx, fresh); err != nil {
		t.Errorf("deleted twice: %v", err)
	}
	if get() != nil {
		t.Error("it is still there")
	}
}

// Only the owner can read the files, and controllers/objects/folder reads them.
func TestFiles(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	files, err := OpenFiles(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer files.Close()
	if _, err := OpenFiles(dir, nil); err == nil || !strings.Contains(err.Error(), "another process uses it") {
		t.Errorf("opened twice: %v", err)
	}
	ctx := t.Context()
	secret := secretOf("tls", "value")
	if err := files.Apply(ctx, secret, true); err != nil {
		t.Fatal(err)
	}
	if found, err := files.Get(ctx, nameOf(secret)); found != nil || err != nil {
		t.Fatalf("a rehearsal has written: %v", err)
	}
	if err := files.Apply(ctx, secret, false); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		info, err := entry.Info()
		if err != nil {
			t.Fatal(err)
		}
		if mode := info.Mode().Perm(); mode != 0o600 {
			t.Errorf("%s is of mode %o", entry.Name(), mode)
		}
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the folder is of mode %o: %v", info.Mode().Perm(), err)
	}
	read, err := folder.New(folder.Options{Paths: []string{dir}})
	if err != nil {
		t.Fatal(err)
	}
	if problems := read.Problems(); len(problems) > 0 {
		t.Error(problems)
	}
	found := &corev1.Secret{}
	if err := read.Live().Get(ctx, nameOf(secret), found); err != nil || string(found.Data["key"]) != "value" {
		t.Errorf("the folder has %q: %v", found.Data["key"], err)
	}
	if err := files.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := OpenFiles(dir, nil)
	if err != nil {
		t.Fatalf("opened again: %v", err)
	}
	if err := again.Close(); err != nil {
		t.Fatal(err)
	}
}

// A file that is no longer a Secret is an error, which does not quote the file.
func TestBrokenFiles(t *testing.T) {
	dir := t.TempDir()
	files, err := OpenFiles(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer files.Close()
	if err := os.WriteFile(filepath.Join(dir, "shop.tls.yaml"), []byte("kind: Secret\ndata: PRIVATE"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = files.Get(t.Context(), types.NamespacedName{Namespace: "shop", Name: "tls"})
	if err == nil || strings.Contains(err.Error(), "PRIVATE") {
		t.Errorf("read: %v", err)
	}
}

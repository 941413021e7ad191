package secretstore

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"
)

// Files is a Store in a folder. It keeps a manifest for each Secret, which only
// the owner may read, in the form that controllers/objects/folder reads. Use
// OpenFiles.
type Files struct {
	dir    string
	lock   *os.File
	others client.Reader

	mu sync.Mutex
}

var _ Store = (*Files)(nil)

// errLocked says that another process has the lock of the folder.
var errLocked = errors.New("another process uses it")

// managedBy is the label on Secrets that we write. Those are only in this folder.
const managedBy = "app.kubernetes.io/managed-by"

// OpenFiles opens the Store in the folder dir, and makes the folder if need be. No
// other process can open it until Close. others, which may be nil, has the Secrets
// that others have written; they are never changed.
func OpenFiles(dir string, others client.Reader) (*Files, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open folder of secrets: %w", err)
	}
	lock, err := os.OpenFile(filepath.Join(dir, ".lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open folder of secrets: %w", err)
	}
	if err := lockFile(lock); err != nil {
		return nil, errors.Join(fmt.Errorf("open folder of secrets %s: %w", dir, err), lock.Close())
	}
	return &Files{dir: dir, lock: lock, others: others}, nil
}

// Close lets other processes open the folder.
func (f *Files) Close() error { return f.lock.Close() }

// Get implements Store.
func (f *Files) Get(ctx context.Context, name types.NamespacedName) (*corev1.Secret, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	secret, err := f.read(name)
	if secret != nil || err != nil || f.others == nil {
		return secret, err
	}
	secret, err = Cluster{Live: f.others}.Get(ctx, name)
	if err != nil || secret == nil || secret.Labels[managedBy] == "fairway" {
		return nil, err // one of ours that was deleted a moment ago
	}
	return secret, nil
}

// List implements Store.
func (f *Files) List(_ context.Context, namespace, label string) ([]corev1.Secret, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	paths, err := filepath.Glob(filepath.Join(f.dir, namespace+".*.yaml"))
	if err != nil {
		return nil, fmt.Errorf("list secrets of %s: %w", namespace, err)
	}
	var found []corev1.Secret
	for _, path := range paths {
		name := strings.TrimSuffix(strings.TrimPrefix(filepath.Base(path), namespace+"."), ".yaml")
		secret, err := f.read(types.NamespacedName{Namespace: namespace, Name: name})
		if err != nil {
			return nil, err
		}
		if secret != nil && secret.Labels[label] == "true" {
			found = append(found, *secret)
		}
	}
	return found, nil
}

// Create implements Store.
func (f *Files) Create(_ context.Context, secret *corev1.Secret) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	found, err := f.read(nameOf(secret))
	if err == nil && found != nil {
		err = apierrors.NewAlreadyExists(corev1.Resource("secrets"), secret.Name)
	}
	if err == nil {
		err = f.write(secret)
	}
	return wrote("create", secret, err)
}

// Update implements Store.
func (f *Files) Update(_ context.Context, secret *corev1.Secret) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	err := f.unchanged(secret)
	if err == nil {
		err = f.write(secret)
	}
	return wrote("update", secret, err)
}

// Delete implements Store.
func (f *Files) Delete(_ context.Context, secret *corev1.Secret) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	err := f.unchanged(secret)
	if err == nil {
		err = os.Remove(f.path(nameOf(secret)))
	}
	if apierrors.IsNotFound(err) || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return wrote("delete", secret, err)
}

// Apply implements Store. There are no conflicts, because no other process writes
// here.
func (f *Files) Apply(_ context.Context, secret *corev1.Secret, dryRun bool) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	found, err := f.read(nameOf(secret))
	if err != nil || dryRun {
		return wrote("apply", secret, err)
	}
	if found == nil {
		found = &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: secret.Namespace, Name: secret.Name}}
	}
	found.Type, found.Data = secret.Type, secret.Data
	found.Labels = merged(found.Labels, secret.Labels)
	found.Annotations = merged(found.Annotations, secret.Annotations)
	return wrote("apply", secret, f.write(found))
}

func merged(all, more map[string]string) map[string]string {
	if all == nil {
		return maps.Clone(more)
	}
	maps.Copy(all, more)
	return all
}

// unchanged returns an error if the Secret is not the version that was read.
func (f *Files) unchanged(secret *corev1.Secret) error {
	found, err := f.read(nameOf(secret))
	switch {
	case err != nil:
		return err
	case found == nil:
		return apierrors.NewNotFound(corev1.Resource("secrets"), secret.Name)
	case found.ResourceVersion != secret.ResourceVersion:
		return apierrors.NewConflict(corev1.Resource("secrets"), secret.Name, errors.New("it was written meanwhile"))
	}
	return nil
}

// path returns the file of a Secret. Namespaces have no dots.
func (f *Files) path(name types.NamespacedName) string {
	return filepath.Join(f.dir, name.Namespace+"."+name.Name+".yaml")
}

func (f *Files) read(name types.NamespacedName) (*corev1.Secret, error) {
	text, err := os.ReadFile(f.path(name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read secret %s: %w", name, err)
	}
	secret := &corev1.Secret{}
	if yaml.UnmarshalStrict(text, secret) != nil { // its error could quote the key
		return nil, fmt.Errorf("read secret %s: %s is no manifest of a Secret", name, f.path(name))
	}
	secret.ResourceVersion = versionOf(text)
	return secret, nil
}

// write replaces the file, or leaves it as it was. It sets the Secret's new
// version.
func (f *Files) write(secret *corev1.Secret) error {
	stored := &corev1.Secret{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"},
		ObjectMeta: metav1.ObjectMeta{
			Namespace: secret.Namespace, Name: secret.Name, Labels: secret.Labels, Annotations: secret.Annotations,
		},
		Type: secret.Type, Data: secret.Data,
	}
	text, err := yaml.Marshal(stored)
	if err != nil {
		return err
	}
	text = bytes.ReplaceAll(text, []byte("  creationTimestamp: null\n"), nil)
	// A leading dot, so that the folder is not read with it as a manifest.
	file, err := os.CreateTemp(f.dir, ".secret-") // of mode 0600
	if err != nil {
		return err
	}
	_, err = file.Write(text)
	if err = errors.Join(err, file.Sync(), file.Close()); err == nil {
		err = os.Rename(file.Name(), f.path(nameOf(secret)))
	}
	if err != nil {
		return errors.Join(err, os.Remove(file.Name()))
	}
	secret.ResourceVersion = versionOf(text)
	return f.sync()
}

// sync puts the folder's own entries on disk: a power cut must not lose an order
// that was placed.
func (f *Files) sync() error {
	dir, err := os.Open(f.dir)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

func versionOf(text []byte) string {
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:8])
}

func nameOf(secret *corev1.Secret) types.NamespacedName {
	return types.NamespacedName{Namespace: secret.Namespace, Name: secret.Name}
}

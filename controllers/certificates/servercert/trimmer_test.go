package servercert

import (
	"bytes"
	"fmt"
	"runtime"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// A Secret that no Ingress names costs the memory for its name, and not for its
// bytes: 10,000 Secrets with 8 KiB each would else fill 80 MiB.
func TestSecretsThatNobodyNamesCostLittle(t *testing.T) {
	const count, most = 10_000, 10 << 20
	var trimmer Trimmer
	before := heap()
	kept := make([]any, count)
	for i := range kept {
		var err error
		if kept[i], err = trimmer.Trim(&corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{
				Namespace: "shop", Name: fmt.Sprintf("secret-%d", i), UID: "uid", ResourceVersion: "7",
				Annotations:   map[string]string{"of": "cert-manager"},
				ManagedFields: []metav1.ManagedFieldsEntry{{Manager: "somebody"}},
			},
			Type: corev1.SecretTypeTLS,
			Data: map[string][]byte{corev1.TLSCertKey: bytes.Repeat([]byte("x"), 6<<10), corev1.TLSPrivateKeyKey: bytes.Repeat([]byte("y"), 2<<10)},
		}); err != nil {
			t.Fatal(err)
		}
	}
	grown := heap() - before
	t.Logf("%d secrets cost %d KiB", count, grown>>10)
	if grown > most {
		t.Errorf("%d secrets cost %d KiB, want at most %d", count, grown>>10, most>>10)
	}
	for _, object := range kept {
		if secret := object.(*corev1.Secret); !isTrimmed(secret) || secret.Annotations != nil || secret.ManagedFields != nil {
			t.Fatalf("kept %+v", secret.ObjectMeta)
		}
	}
}

func heap() int64 {
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return int64(stats.HeapAlloc)
}

// isTrimmed reports whether the bytes of a Secret from a cache are missing. The
// API allows no Secret of this type without both keys.
func isTrimmed(secret *corev1.Secret) bool {
	return secret.Type == corev1.SecretTypeTLS && secret.Data[corev1.TLSCertKey] == nil && secret.Data[corev1.TLSPrivateKeyKey] == nil
}

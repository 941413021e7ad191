package main

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"unicode/utf16"
)

// serve reads a file in Windows encoding and uses endpoints of both IP families.
// It names files that are no manifests, and notices edits.
func TestServeFromFilesAsTheyAre(t *testing.T) {
	envoy := elsewhere(t)
	red, blue := backend(t, "red"), backendOn(t, "[::1]:0", "blue")
	endpoints := func(address string, port int) string {
		return ingress("a", "a.test", "cart") + fmt.Sprintf(`---
apiVersion: v1
kind: Service
metadata: {name: cart}
spec: {ports: [{name: http, port: 80}]}
---
apiVersion: v1
kind: Endpoints
metadata: {name: cart}
subsets: [{addresses: [{ip: %q}], ports: [{name: http, port: %d}]}]
`, address, port)
	}
	put(t, "dir/a.yaml", wide(endpoints("127.0.0.1", red)))
	put(t, "dir/Chart.yaml", "apiVersion: v2\nname: cart\n")
	p := startServe(t, envoy)
	p.says(fmt.Sprintf("serving dir on http://127.0.0.1:%d: 1 host (a.test)", p.port))
	p.says("dir/Chart.yaml:1: passed over: it is no Kubernetes object: it has no kind")
	if err := p.answers("a.test", "/", 200, "red")(); err != nil {
		t.Error(err)
	}

	put(t, "dir/a.yaml", endpoints("::1", blue))
	live(t, p.answers("a.test", "/", 200, "blue"))
	put(t, "dir/a.yaml", strings.Replace(endpoints("::1", blue), "spec: {ports", "spec: {selector: {app: cart}, ports", 1))
	live(t, p.answers("a.test", "/", 503, ""))
}

// wide is a text as PowerShell redirects it into a file.
func wide(text string) string {
	var out []byte
	for _, unit := range utf16.Encode([]rune("\ufeff" + strings.ReplaceAll(text, "\n", "\r\n"))) {
		out = binary.LittleEndian.AppendUint16(out, unit)
	}
	return string(out)
}

// backendOn answers with its name at an address.
func backendOn(t *testing.T, address, name string) int {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	server := &httptest.Server{
		Listener: listener,
		Config:   &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, name) })},
	}
	server.Start()
	t.Cleanup(server.Close)
	return listener.Addr().(*net.TCPAddr).Port
}

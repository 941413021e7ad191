package bench

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/fairwaynet/fairway/test/fairway"
	"github.com/fairwaynet/fairway/test/tools"
)

// contour is Contour as its example manifests start it, but for the access log
// and the election of a leader; see test/tools/contour for its version.
func contour() peer {
	return peer{name: "contour", controller: "projectcontour.io/bench", start: startContour}
}

const contourSettings = `
accesslog-level: disabled
disablePermitInsecure: false
`

func startContour(b *testing.B, w *world) *running {
	b.Helper()
	program, dir := tools.Path(b, "contour"), b.TempDir()
	w.Kubectl(b, contourFile(b, "examples/contour/01-crds.yaml"), "create", "-f", "-")
	w.Kubectl(b, "", "wait", "--for=condition=Established", "crd", "--all", "--timeout=1m")
	file := func(name string) string { return filepath.Join(dir, name) }
	if err := os.WriteFile(file("contour.yaml"), []byte(contourSettings), 0o600); err != nil {
		b.Fatal(err)
	}
	run(b, program, "certgen", "--kubeconfig", w.Kubeconfig, "--pem", dir)
	// The kernel limits the path of a socket; the benchmark's name is in dir.
	admin := filepath.Join(filepath.Dir(w.Kubeconfig), "admin.sock")
	const port = "8001"
	run(b, program, "bootstrap", file("envoy.json"), "--admin-address", admin,
		"--xds-address", "127.0.0.1", "--xds-port", port, "--envoy-cafile", file("cacert.pem"),
		"--envoy-cert-file", file("envoycert.pem"), "--envoy-key-file", file("envoykey.pem"))

	began := time.Now()
	controller := fairway.Run(b, "contour", program, "serve", "--kubeconfig", w.Kubeconfig,
		"--config-path", file("contour.yaml"), "--ingress-class-name", class, "--disable-leader-election",
		"--xds-address", "127.0.0.1", "--xds-port", port, "--contour-cafile", file("cacert.pem"),
		"--contour-cert-file", file("contourcert.pem"), "--contour-key-file", file("contourkey.pem"),
		"--http-address", "127.0.0.1", "--http-port", "8000", "--health-address", "127.0.0.1", "--health-port", "8003",
		"--stats-address", "127.0.0.1", "--stats-port", "8002")
	proxy := fairway.Run(b, "contour's envoy", tools.Path(b, "envoy"), "--config-path", file("envoy.json"),
		"--service-cluster", "contour", "--service-node", "envoy-0", "--disable-hot-restart", "--log-level", "error", "--concurrency", "2")
	return &running{began: began, controller: controller.PID, proxy: proxy.PID}
}

// contourFile is a file of Contour's module.
func contourFile(b *testing.B, name string) string {
	b.Helper()
	command := exec.Command("go", "mod", "download", "-json", "github.com/projectcontour/contour")
	command.Dir = filepath.Join("..", "tools", "contour")
	said, err := command.Output()
	if err != nil {
		b.Fatalf("find Contour's module: %v", err)
	}
	var module struct{ Dir string }
	if err := json.Unmarshal(said, &module); err != nil {
		b.Fatalf("find Contour's module: %v", err)
	}
	text, err := os.ReadFile(filepath.Join(module.Dir, name))
	if err != nil {
		b.Fatal(err)
	}
	return string(text)
}

// run runs a program to its end.
func run(b *testing.B, program string, args ...string) {
	b.Helper()
	if said, err := exec.Command(program, args...).CombinedOutput(); err != nil {
		b.Fatalf("%s %s: %v\n%s", filepath.Base(program), args[0], err, said)
	}
}

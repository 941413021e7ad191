//go:build lab

package lab

import (
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/fairwaynet/fairway/images/oci"
)

// What the private registry holds, and who may read it.
const (
	privateFolder   = Registry + "/fairwaynet"
	privateVersion  = "v0.1.0-lab"
	privateUser     = "ann"
	privatePassword = "correct-horse"
)

// privateRegistry is a registry on the client's machine that demands a password.
type privateRegistry struct {
	lab     *Lab
	client  *Machine
	command *exec.Cmd
	log     string            // what it was asked
	digests map[string]string // of the lists that it holds, by image
}

// runPrivateRegistry starts a registry, which is empty.
func (l *Lab) runPrivateRegistry(t *testing.T) *privateRegistry {
	t.Helper()
	program, err := build(t.Context(), l.path("registry"), "test/lab/cmd/registry")
	if err != nil {
		t.Fatal(err)
	}
	r := &privateRegistry{lab: l, client: l.Machine(clientName), log: l.path("registry.log"), digests: map[string]string{}}
	r.command, err = r.client.Command(t.Context(), program, "--user", privateUser, "--folder", "/root/registry")
	if err != nil {
		t.Fatal(err)
	}
	log, err := os.Create(r.log)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	r.command.Env = append(r.command.Env, "REGISTRY_PASSWORD="+privatePassword)
	r.command.Stdout, r.command.Stderr = log, log
	if err := r.command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log("the registry says:\n" + last(r.said(t), 40))
		}
	})
	l.eventually(t, "the registry", func() bool {
		_, err := r.client.TryExec(t.Context(), "curl", "-sS", "http://"+Registry+"/v2/")
		return err == nil
	})
	return r
}

func (r *privateRegistry) end(t *testing.T) {
	t.Helper()
	if err := Signal(r.command, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := r.command.Wait(); err != nil {
		t.Errorf("%v\n%s", err, r.said(t))
	}
}

func (r *privateRegistry) said(t *testing.T) string {
	t.Helper()
	log, err := os.ReadFile(r.log)
	if err != nil {
		t.Fatal(err)
	}
	return string(log)
}

// fill publishes images and chart of this tree, with the program and the login of
// "make publish". Without the login, the program says what is missing.
func (r *privateRegistry) fill(t *testing.T) {
	t.Helper()
	publisher, err := build(t.Context(), r.lab.path("publisher"), "images/cmd/images")
	if err != nil {
		t.Fatal(err)
	}
	dist := r.lab.path("dist")
	r.writeImages(t, dist)
	pack := exec.CommandContext(t.Context(), "../../charts/package.sh", privateVersion, dist)
	if said, err := pack.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	publish := func(login string) (string, error) {
		return r.client.TryExec(t.Context(), "env", "DOCKER_CONFIG="+login, publisher, "publish", "--plain-http", "--from", dist, "--registry", privateFolder,
			"--chart", filepath.Join(dist, "fairway-"+strings.TrimPrefix(privateVersion, "v")+".tgz"))
	}
	_, err = publish("/nowhere")
	refused(t, "publish without a login", err, "docker login")
	if _, err := publish("/root/.config/helm/registry"); err != nil {
		t.Fatal(err)
	}
}

// writeImages writes layouts of images that no node has: their programs are of another
// time than those on the nodes, so that one layer has to be pulled.
func (r *privateRegistry) writeImages(t *testing.T, dist string) {
	t.Helper()
	r.lab.builder.Version.Time = r.lab.builder.Version.Time.Add(time.Hour)
	built, err := r.lab.fairwayImages(t.Context(), func(string) bool { return true })
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(dist, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, image := range built {
		index, err := oci.NewIndex(privateVersion, nil, image)
		if err == nil {
			err = index.WriteLayout(filepath.Join(dist, name))
		}
		if err == nil {
			r.digests[name], err = index.Digest()
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// refused demands an error that names the cause.
func refused(t *testing.T, what string, err error, cause string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), cause) {
		t.Errorf("%s: %v, want an error with %q", what, err, cause)
	}
}

// helm runs Helm on the client's machine, which knows the registry.
func (r *privateRegistry) helm(ctx context.Context, args ...string) (string, error) {
	return r.client.TryExec(ctx, append([]string{otherHelm(), "--kubeconfig", "/root/kubeconfig"}, args...)...)
}

func (r *privateRegistry) mustHelm(t *testing.T, args ...string) string {
	t.Helper()
	printed, err := r.helm(t.Context(), args...)
	if err != nil {
		t.Fatal(err)
	}
	return printed
}

// giveKubeconfig makes the client's machine an administrator's.
func (r *privateRegistry) giveKubeconfig(t *testing.T) {
	t.Helper()
	config, err := os.ReadFile(r.lab.Kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	inside := regexp.MustCompile(`server: .*`).ReplaceAllString(string(config), "server: "+r.lab.Options.apiURL())
	write, err := r.client.Command(t.Context(), "sh", "-c", "umask 077 && cat > /root/kubeconfig")
	if err != nil {
		t.Fatal(err)
	}
	write.Stdin = strings.NewReader(inside)
	if said, err := write.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
}

// commands are those that docs/install.md gives for a private registry, for the release
// edge and this registry.
func (r *privateRegistry) commands(t *testing.T) (login, namespace, secret, install []string) {
	t.Helper()
	block := documented(t, "## From a private registry")
	if len(block) != 4 {
		t.Fatalf("docs/install.md has %d commands for a private registry: %q", len(block), block)
	}
	ours := strings.NewReplacer("registry.example", Registry, "fairway-system", "edge", "USER", privateUser, "PASSWORD", privatePassword, "install fairway", "install edge")
	var all [4][]string
	for i, line := range block {
		all[i] = strings.Fields(ours.Replace(line))[1:]
	}
	return all[0], all[1], all[2], all[3]
}

// documented are the commands of the first block of docs/install.md behind some words.
func documented(t *testing.T, behind string) []string {
	t.Helper()
	page, err := os.ReadFile("../../docs/install.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(page), behind)
	block := regexp.MustCompile("(?s)```sh\n(.*?)```").FindStringSubmatch(section)
	if block == nil {
		t.Fatalf("docs/install.md has no commands behind %q", behind)
	}
	text := strings.NewReplacer("\\\n", " ", "'", "").Replace(strings.TrimSpace(block[1]))
	return strings.Split(text, "\n")
}

// notPulled waits until the controller cannot be pulled because the registry refuses the
// user, and demands that its pod shows the cause. (The gateway is pulled later, once it has a certificate from the controller.)
func (r *privateRegistry) notPulled(t *testing.T, user, cause string) {
	t.Helper()
	refusal := regexp.MustCompile(fmt.Sprintf(`refused %q at 172\.30\.0\.1[12]:\d+: \w+ /v2/fairwaynet/fairway/manifests/`, user))
	var waits string
	r.lab.eventually(t, "a controller that is not pulled", func() bool {
		waits = r.lab.Kubectl(t, "", "-n", "edge", "get", "pods", "-l", "app.kubernetes.io/component=controller",
			"-o", `jsonpath={range .items[*].status.containerStatuses[*].state.waiting}{.reason}: {.message}{end}`)
		return refusal.MatchString(r.said(t)) && strings.Contains(waits, "ImagePull")
	})
	t.Logf("pulled as %q: %s", user, waits)
	if !strings.Contains(waits, cause) {
		t.Errorf("the pod does not show %q", cause)
	}
}

// again lets pods begin again at once; their own pace would cost the test ten seconds.
func (r *privateRegistry) again(t *testing.T) {
	t.Helper()
	r.lab.Kubectl(t, "", "-n", "edge", "delete", "pods", "--all")
}

// testSecondRelease installs another release beside the first, from a registry that
// demands a password, as docs/install.md says. The first release's client notices nothing.
func testSecondRelease(t *testing.T, l *Lab) {
	r := l.runPrivateRegistry(t)
	r.giveKubeconfig(t)
	login, namespace, secret, install := r.commands(t)
	lab := []string{"--plain-http", "--version", strings.TrimPrefix(privateVersion, "v"), "--set", "crds.enabled=false", "--set", "gateway.ingressClassResource.name=edge",
		"--set", "gateway.service.type=NodePort", "--set", "gateway.service.externalTrafficPolicy=Cluster", "--set", "gateway.service.nodePorts.http=30180",
		"--set", "controller.replicaCount=1", "--set", "gateway.replicaCount=1", "--set", "gateway.drain.delay=1s"}
	install = append(install, lab...)

	_, err := r.helm(t.Context(), append(login, "--plain-http", "--password", "guess")...)
	refused(t, "log in with a wrong password", err, "401")
	_, err = r.helm(t.Context(), install...)
	refused(t, "install without a login", err, "basic credential not found")
	r.mustHelm(t, append(login, "--plain-http", "--password", privatePassword)...)
	r.fill(t)
	for _, node := range []string{"n1", "n2"} {
		if has := l.Machine(node).Exec(t, "ctr", "--namespace=k8s.io", "images", "list", "--quiet"); strings.Contains(has, Registry) {
			t.Fatalf("%s has images of the registry:\n%s", node, has)
		}
	}

	running := l.load(t)
	l.Kubectl(t, "", namespace...)
	r.mustHelm(t, install...)
	r.notPulled(t, "", "authorization failed: no basic auth credentials")
	l.Kubectl(t, "", append(slices.Clone(secret), "--docker-password=guess")...)
	r.again(t)
	r.notPulled(t, privateUser, "401 Unauthorized")
	l.Kubectl(t, "", "-n", "edge", "delete", "secret", "registry")
	l.Kubectl(t, "", secret...)
	r.again(t)
	l.rolledOut(t, "edge")
	testSecondServes(t, l)
	upgrade := append([]string{"upgrade"}, install[1:]...)
	r.mustHelm(t, append(upgrade, "--set", "controller.image.pullPolicy=Always", "--set", "gateway.image.pullPolicy=Always",
		"--set", "controller.image.digest="+r.digests["fairway"], "--set", "gateway.image.digest="+r.digests["fairway-gateway"], "--wait", "--timeout", "3m")...)
	l.served(t, "edge.test", 30180)
	r.testPulled(t)
	r.mustHelm(t, "test", "edge", "--namespace", "edge", "--timeout", "1m")
	r.mustHelm(t, "uninstall", "edge", "--namespace", "edge", "--wait")
	l.Kubectl(t, "", "delete", "ingress", "edge")
	l.Kubectl(t, "", "delete", "namespace", "edge")
	running.end(t, "a second release that comes and goes")
	r.end(t)
}

// testSecondServes asks both releases for hosts of both.
func testSecondServes(t *testing.T, l *Lab) {
	t.Helper()
	l.Kubectl(t, strings.NewReplacer("name: echo}\nspec:\n  ingressClassName: fairway", "name: edge}\nspec:\n  ingressClassName: edge", "echo.test", "edge.test").Replace(ingress), "apply", "-f", "-")
	l.served(t, "edge.test", 30180)
	for host, port := range map[string]int{"echo.test": 30180, "edge.test": FairwayPort} {
		if said := l.Machine("client").Exec(t, "curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", "-H", "Host: "+host, fmt.Sprintf("http://n1:%d/", port)); said != "404" {
			t.Errorf("%s at port %d of the other release: %s", host, port, said)
		}
	}
}

// testPulled demands that every pod runs what the registry has under the list's digest, and
// that nodes got the programs there.
func (r *privateRegistry) testPulled(t *testing.T) {
	t.Helper()
	runs := strings.Fields(r.lab.Kubectl(t, "", "-n", "edge", "get", "pods", "-o", `jsonpath={range .items[*].status.containerStatuses[*]}{.imageID}{"\n"}{end}`))
	used := maps.Clone(r.digests)
	delete(used, "fairway-node") // the release has no network,
	delete(used, "fairway-dns")  // and no DNS
	var want []string
	for image, digest := range used {
		want = append(want, privateFolder+"/"+image+"@"+digest)
	}
	slices.Sort(runs)
	slices.Sort(want)
	if runs = slices.Compact(runs); !slices.Equal(runs, want) { // those of before may still end
		t.Errorf("pods run\n%q, want\n%q", runs, want)
	}
	for image, digest := range used {
		for _, what := range []string{"HEAD /v2/fairwaynet/%s/manifests/" + digest, "GET /v2/fairwaynet/%s/blobs/"} {
			asked := regexp.MustCompile(fmt.Sprintf(`admitted %q at 172\.30\.0\.1[12]:\d+: `+what, privateUser, image))
			if !asked.MatchString(r.said(t)) {
				t.Errorf("no node asked the registry: %s", asked)
			}
		}
	}
}

package lab

import (
	"bytes"
	"context"
	_ "embed"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/fairwaynet/fairway/test/tools"
)

// fairwayValues are the values of the chart for a lab: images that the nodes have, and
// ports of the nodes, because a lab has no load balancer. They are in the lab's folder
// beside the images.
//
//go:embed fairway.yaml
var fairwayValues []byte

// FairwayPort is the port of every node on which the gateways answer HTTP. HTTPS has the
// port that ends with 443.
const FairwayPort = 30080

// installFairway installs the chart of this tree, and waits until it runs.
func (l *Lab) installFairway(ctx context.Context) error {
	began := time.Now()
	args := []string{"install", "fairway", l.Chart(), "--values", l.path("fairway.yaml"),
		"--namespace", "fairway-system", "--create-namespace", "--wait", "--timeout", l.Options.Patience.String()}
	args = append(args, l.partValues()...)
	if l.Options.Shop {
		values, err := l.shopValues(ctx)
		if err != nil {
			return err
		}
		args = append(args, values...)
	}
	if _, err := l.TryHelm(ctx, "helm4", args...); err != nil {
		return err
	}
	l.say("Fairway: installed by Helm in %.1f s", time.Since(began).Seconds())
	return nil
}

// partValues are the values of the chart for the agents and the DNS of this lab.
func (l *Lab) partValues() []string {
	var all []string
	if l.Options.hasAgents() {
		all = l.networkValues()
	}
	if l.Options.hasDNS() {
		all = append(all, "--set", "dns.enabled=true", "--set", "dns.address={"+strings.Join(l.Options.dnsAddresses(), ",")+"}")
	}
	return all
}

// networkValues are the values of the chart for the agents of this lab.
func (l *Lab) networkValues() []string {
	var pods []string
	for _, r := range l.Options.Families.ranges() {
		pods = append(pods, r.pods.String())
	}
	api := netip.AddrPortFrom(l.Options.addresses(0, controlHost)[0], apiPort).String()
	return []string{
		"--set", "network.enabled=true", "--set", "network.podCIDRs={" + strings.Join(pods, ",") + "}",
		"--set", "network.apiServers={" + api + "}",
		"--set", fmt.Sprintf("network.podNetwork=%t,network.services.enabled=%t", l.Options.hasNetwork(), l.Options.hasServices()),
		"--set", fmt.Sprintf("loadBalancer.enabled=%t", l.Options.hasServices() && l.Options.hasIngress()),
	}
}

// installParts applies the chart's parts for the network and for DNS without its controllers and gateways.
func (l *Lab) installParts(ctx context.Context) error {
	args := append([]string{"template", "fairway", l.Chart(), "--values", l.path("fairway.yaml"), "--namespace", "fairway-system"}, l.partValues()...)
	var templates []string
	if l.Options.hasAgents() {
		templates = append(templates, "node", "noderights", "nodepolicy")
	}
	if l.Options.hasDNS() {
		templates = append(templates, "dns", "dnsrights")
	}
	for _, template := range templates {
		args = append(args, "--show-only", "templates/"+template+".yaml")
	}
	manifests, err := l.TryHelm(ctx, "helm4", args...)
	if err == nil {
		// In Helm's name, so that a release can take it over.
		_, err = l.TryKubectl(ctx, manifests, "apply", "--server-side", "--field-manager=helm", "-f", "-")
	}
	return err
}

// Chart is the folder of the chart in this tree.
func (l *Lab) Chart() string {
	root, err := tools.Root()
	if err != nil {
		return "charts/fairway"
	}
	return filepath.Join(root, "charts", "fairway")
}

// Helm runs a real Helm ("helm3" or "helm4") as the administrator, and returns what it
// printed. The test fails when Helm does.
func (l *Lab) Helm(t testing.TB, program string, args ...string) string {
	t.Helper()
	printed, err := l.TryHelm(t.Context(), program, args...)
	if err != nil {
		t.Fatal(err)
	}
	return printed
}

// TryHelm is Helm for commands that may fail. The error holds Helm's error output.
func (l *Lab) TryHelm(ctx context.Context, program string, args ...string) (string, error) {
	path, err := tools.Find(program)
	if err != nil {
		return "", err
	}
	home := l.path("helm")
	command := exec.CommandContext(ctx, path, append(args, "--kubeconfig", l.Kubeconfig)...)
	command.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + home, "HELM_CACHE_HOME=" + home, "HELM_CONFIG_HOME=" + home, "HELM_DATA_HOME=" + home}
	var printed, complaint bytes.Buffer
	command.Stdout, command.Stderr = &printed, &complaint
	command.WaitDelay = time.Second
	if err := command.Run(); err != nil {
		return printed.String(), fmt.Errorf("%s %v: %w\n%s%s", program, args, err, &printed, &complaint)
	}
	return printed.String(), nil
}

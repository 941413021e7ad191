package cni

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/fairwaynet/fairway/test/netns"
	"github.com/fairwaynet/fairway/test/tools"
)

// flannel is a pod on each of two machines with flannel in VXLAN mode: the bridge plugin
// connects pods, as flannel's own plugin has it do.
func flannel(b *testing.B) *path {
	b.Helper()
	machines := nodes(b, 2)
	etcd := "http://" + net.JoinHostPort(machines[0].address.String(), "2379")
	spawn(b, machines[0].Namespace, tools.Path(b, "etcd"), "--data-dir", b.TempDir(), "--listen-client-urls", etcd, "--advertise-client-urls", etcd)
	configure(b, machines[0].Namespace, etcd, `{"Network": "10.244.0.0/16", "EnableNFTables": true, "Backend": {"Type": "vxlan"}}`)
	p := &path{name: "two nodes, flannel VXLAN", from: netns.New(b), to: netns.New(b)}
	for i, pod := range []*netns.Namespace{p.from, p.to} {
		m := machines[i]
		file := filepath.Join(b.TempDir(), "subnet.env")
		spawn(b, m.Namespace, tools.Path(b, "flannel"), "-etcd", etcd, "-iface", "uplink", "-subnet-file", file)
		pods, mtu := subnet(b, file)
		plugin := bridge(b, "flannel", pods, mtu)
		plugin.node = m.Namespace
		p.at = plugin.start(b, pod)
	}
	return p
}

// subnet returns what flannel writes for plugins: the range of the machine's pods and their
// MTU.
func subnet(b *testing.B, file string) (pods string, mtu int) {
	b.Helper()
	lines := regexp.MustCompile(`(?s)FLANNEL_SUBNET=([\d.]+)1/24.*FLANNEL_MTU=(\d+)`)
	var found [][]byte
	await(b, "flannel writes "+file, func() error {
		text, err := os.ReadFile(file)
		if found = lines.FindSubmatch(text); err == nil && found == nil {
			err = fmt.Errorf("%s: no range in %s", file, text)
		}
		return err
	})
	mtu, err := strconv.Atoi(string(found[2]))
	if err != nil {
		b.Fatal(err)
	}
	return string(found[1]) + "0/24", mtu
}

// configure writes flannel's configuration into etcd.
func configure(b *testing.B, from *netns.Namespace, etcd, config string) {
	b.Helper()
	body, err := json.Marshal(map[string][]byte{"key": []byte("/coreos.com/network/config"), "value": []byte(config)})
	if err != nil {
		b.Fatal(err)
	}
	client := http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, network, address string) (connection net.Conn, err error) {
		from.Do(func() { connection, err = (&net.Dialer{}).DialContext(ctx, network, address) })
		return connection, err
	}}}
	defer client.CloseIdleConnections()
	await(b, "etcd answers", func() error {
		response, err := client.Post(etcd+"/v3/kv/put", "application/json", bytes.NewReader(body))
		if err != nil {
			return err
		}
		defer response.Body.Close()
		if said, _ := io.ReadAll(response.Body); response.StatusCode != http.StatusOK {
			return fmt.Errorf("%s: %s", response.Status, said)
		}
		return nil
	})
}

// spawn runs a program in a namespace until the benchmark ends; it dies with the namespace.
func spawn(b *testing.B, in *netns.Namespace, program string, args ...string) {
	b.Helper()
	cmd := exec.Command(program, args...)
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	on(b, in, cmd.Start)
	b.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if b.Failed() {
			b.Logf("%s said: %s", filepath.Base(program), &said)
		}
	})
}

// await tries until it succeeds.
func await(b *testing.B, what string, try func() error) {
	b.Helper()
	const patience = time.Minute
	deadline := time.Now().Add(patience)
	for now := range time.Tick(20 * time.Millisecond) {
		err := try()
		if err == nil {
			return
		}
		if now.After(deadline) {
			b.Fatalf("wait until %s: %v", what, err)
		}
	}
}

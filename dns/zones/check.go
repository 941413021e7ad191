package zones

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"strings"
	"time"

	"github.com/coredns/caddy"
	"github.com/coredns/caddy/caddyfile"
	"github.com/coredns/coredns/plugin"
	"github.com/coredns/coredns/plugin/pkg/parse"
)

// Check says whether CoreDNS would start with a configuration, as far as that can be said without
// starting: plugins are set up and not run. That leaves traces in the process.
func Check(text string) error {
	input := caddy.CaddyfileInput{Filepath: "Corefile", Contents: []byte(text), ServerTypeName: "dns"}
	if err := unique(text); err != nil {
		return err
	}
	return caddy.ValidateAndExecuteDirectives(input, nil, true)
}

// unique says which zone two blocks have: CoreDNS finds that only when it starts.
func unique(text string) error {
	found, err := caddyfile.Parse("Corefile", bytes.NewBufferString(text), nil)
	if err != nil {
		return err
	}
	known := map[string]bool{}
	for _, block := range found {
		if len(block.Tokens["view"]) > 0 {
			continue // views choose among blocks of one zone
		}
		zones, err := zonesOf(block)
		if err != nil {
			return err
		}
		for _, zone := range zones {
			if known[zone] && len(block.Tokens["bind"]) == 0 {
				return fmt.Errorf("another block answers %s", zone)
			}
			known[zone] = true
		}
	}
	return nil
}

// zonesOf are the zones of a block, each with its protocol and port.
func zonesOf(block caddyfile.ServerBlock) ([]string, error) {
	var all []string
	for _, key := range block.Keys {
		transport, rest := parse.Transport(key)
		hosts, port, err := plugin.SplitHostPort(rest)
		if err != nil {
			return nil, err
		}
		if port == "" && transport == "dns" {
			port = "53"
		}
		for _, host := range hosts {
			all = append(all, transport+"://"+plugin.Name(host).Normalize()+":"+port)
		}
	}
	return all, nil
}

// patience is how long a check may take.
const patience = 20 * time.Second

// By is a check in another process, which a program runs on itself: it leaves no traces, and what
// crashes there crashes alone. The program gets args and reads the text.
func By(program string, args ...string) func(text string) error {
	return func(text string) error {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		command := exec.CommandContext(ctx, program, args...)
		command.Stdin = strings.NewReader(text)
		said, err := command.CombinedOutput()
		if err != nil {
			return fmt.Errorf("%s", lastLine(strings.TrimSpace(string(said)), err.Error()))
		}
		return nil
	}
}

// lastLine is the last line of a text, or what stands for an empty one.
func lastLine(text, otherwise string) string {
	if text == "" {
		return otherwise
	}
	lines := strings.Split(text, "\n")
	return lines[len(lines)-1]
}

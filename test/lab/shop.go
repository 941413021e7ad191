package lab

import (
	"context"
	"crypto/x509/pkix"
	_ "embed" // for the manifest
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"

	"sigs.k8s.io/yaml"

	"github.com/fairwaynet/fairway/test/lab/machine"
)

// The shop, and the ACME server that gives it its certificate.
const (
	// ShopHost is the host of the shop. The client's machine knows its addresses.
	ShopHost = "shop.test"
	// ShopRoots is the file on the client's machine that verifies the shop's certificate.
	ShopRoots = "/etc/acme/roots.pem"

	acmeDir        = "/etc/acme/"
	acmePort       = 14000
	managementPort = 15000
	shopHostNumber = 230 // on the first fabric: the first address that Services get
	mostAddresses  = 10
)

//go:embed shop.yaml
var shop string

// shopAddresses are those at which the gateways answer, one of each family.
func (o Options) shopAddresses() []netip.Addr { return o.addresses(0, shopHostNumber) }

// addACME gives a machine an ACME server, which believes what it reads at a name's own ports.
func (p planner) addACME(to *machine.Spec) error {
	identity, err := p.authority.Issue(pkix.Name{CommonName: clientName}, []string{clientName}, p.options.addresses(0, clientHost)...)
	if err != nil {
		return err
	}
	const ninetyDays = 90 * 24 * 3600
	config, err := json.Marshal(map[string]any{"pebble": map[string]any{
		"listenAddress": fmt.Sprintf(":%d", acmePort), "managementListenAddress": fmt.Sprintf(":%d", managementPort),
		"certificate": acmeDir + "server.crt", "privateKey": acmeDir + "server.key", "httpPort": 80, "tlsPort": 443,
		"keyAlgorithm": "ecdsa", "profiles": map[string]any{"default": map[string]any{"description": "the only one", "validityPeriod": ninetyDays}},
	}})
	if err != nil {
		return fmt.Errorf("configure the ACME server: %w", err)
	}
	to.Files[acmeDir+"config.json"] = text(string(config))
	to.Files[acmeDir+"ca.crt"] = text(string(p.authority.PEM()))
	to.Files[acmeDir+"server.crt"] = text(string(identity.Certificate))
	to.Files[acmeDir+"server.key"] = machine.File{Content: identity.Key, Mode: 0o600}
	to.Programs = append(to.Programs, program("pebble", "-config", acmeDir+"config.json", "-strict"))
	return nil
}

// shopValues writes the values of the chart for the shop's gateways, and returns the flags that name them.
func (l *Lab) shopValues(ctx context.Context) ([]string, error) {
	ca, err := l.Machine(clientName).TryExec(ctx, "cat", acmeDir+"ca.crt")
	if err != nil {
		return nil, err
	}
	var ranges []string
	for _, first := range l.Options.shopAddresses() {
		last := first
		for range mostAddresses - 1 {
			last = last.Next()
		}
		ranges = append(ranges, fmt.Sprintf("%s-%s", first, last))
	}
	values, err := yaml.Marshal(map[string]any{
		"gateway":      map[string]any{"service": map[string]any{"type": "LoadBalancer", "externalTrafficPolicy": "Local"}},
		"loadBalancer": map[string]any{"pools": []any{map[string]any{"name": "lab", "addresses": ranges}}},
		"issuers": map[string]any{"lab": map[string]any{
			"directory":   fmt.Sprintf("https://%s/dir", netip.AddrPortFrom(l.Options.addresses(0, clientHost)[0], acmePort)),
			"termsAgreed": true, "caBundle": ca,
		}},
	})
	if err == nil {
		err = os.WriteFile(l.path("shop-values.yaml"), values, 0o600)
	}
	if err != nil {
		return nil, fmt.Errorf("write the values for the shop: %w", err)
	}
	return []string{"--values", l.path("shop-values.yaml")}, nil
}

// openShop applies the shop, and waits until the client gets it with a certificate that it trusts.
func (l *Lab) openShop(ctx context.Context) error {
	manifests := strings.NewReplacer("IMAGE", EchoImage, "HOST", ShopHost).Replace(shop)
	if _, err := l.TryKubectl(ctx, manifests, "apply", "--server-side", "-f", "-"); err != nil {
		return err
	}
	client := l.Machine(clientName)
	curl := func(ctx context.Context, args ...string) error {
		_, err := client.TryExec(ctx, append([]string{"curl", "--silent", "--show-error", "--fail", "--max-time", "5"}, args...)...)
		return err
	}
	if err := l.until(ctx, "the ACME server's root certificate", func(ctx context.Context) error {
		return curl(ctx, "--cacert", acmeDir+"ca.crt", "--output", ShopRoots, fmt.Sprintf("https://%s:%d/roots/0", clientName, managementPort))
	}); err != nil {
		return err
	}
	for _, address := range l.Options.shopAddresses() {
		family := "--ipv6"
		if address.Is4() {
			family = "--ipv4"
		}
		if err := l.until(ctx, fmt.Sprintf("https://%s at %s", ShopHost, address), func(ctx context.Context) error {
			return errors.Join(
				curl(ctx, "--cacert", ShopRoots, family, "https://"+ShopHost+"/"),
				curl(ctx, "--cacert", ShopRoots, family, "https://"+ShopHost+"/cart"),
			)
		}); err != nil {
			return err
		}
	}
	return nil
}

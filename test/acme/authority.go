package acme

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/fairwaynet/fairway/test/child"
	"github.com/fairwaynet/fairway/test/freeport"
	"github.com/fairwaynet/fairway/test/tools"
)

// Options change how an authority runs. The zero value suits most tests.
type Options struct {
	// HTTPPort and TLSPort are the ports at which the authority checks HTTP-01
	// and TLS-ALPN-01, instead of 80 and 443.
	HTTPPort, TLSPort int
	// DNS is the authority's resolver, "host:port", over TCP. Empty means its
	// own, whose records the methods of Authority set.
	DNS string
	// NonceReject is the percentage of good nonces that the authority refuses; 0
	// means 50, -1 none.
	NonceReject int
	// ExternalAccounts are base64url keys, by their IDs. If there are any, an
	// account needs one.
	ExternalAccounts map[string]string
	// Profiles are the lifetimes of certificates, by the profiles' names. Nil
	// means "default" with 90 days and "shortlived" with 6. An order without a
	// profile gets any of them.
	Profiles map[string]time.Duration
	// SlowSeconds is the longest delay before the authority checks a name.
	SlowSeconds int
	// RetryAfterSeconds is the Retry-After of the authority's answers; 0 means
	// none.
	RetryAfterSeconds int
	// AlternateRoots is the number of alternate chains.
	AlternateRoots int
	// Blocked are names that the authority refuses.
	Blocked []string
	// AlwaysValid makes the authority skip all checks of names.
	AlwaysValid bool
}

// Authority is a running Pebble with its DNS server.
type Authority struct {
	// Directory is the URL of the directory, for clients.
	Directory string
	// CA is the certificate, in PEM, that verifies the authority's own server.
	CA []byte
	// DNS is the address of the authority's DNS server, "127.0.0.1:port", TCP and
	// UDP.
	DNS string

	options     Options
	dir         string
	listen      string // Pebble's, for clients
	management  string // Pebble's, for tests
	control     string // the DNS server's
	pebble, dns *child.Process
	client      *http.Client
}

// Start runs an authority until the test ends. If the test failed, the last
// lines of its log are part of the output.
func Start(t testing.TB, options Options) *Authority {
	t.Helper()
	a, err := Up(options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(a.Logs())
		}
		if err := a.Down(); err != nil {
			t.Error(err)
		}
	})
	return a
}

// Up is Start for code without a test, such as TestMain. The caller calls Down.
func Up(options Options) (_ *Authority, err error) {
	const tries = 5 // another process may take a free port before the server binds it
	for range tries {
		a := &Authority{options: options}
		if err = a.up(); err == nil {
			return a, nil
		}
		err = errors.Join(fmt.Errorf("start authority: %w\n%s", err, a.Logs()), a.Down())
	}
	return nil, err
}

func (a *Authority) up() (err error) {
	if a.dir, err = os.MkdirTemp("", "pebble-"); err != nil {
		return err
	}
	if a.CA, err = writeIdentity(a.path("cert.pem"), a.path("key.pem")); err != nil {
		return err
	}
	a.client = a.trusting()
	for _, address := range []*string{&a.listen, &a.management, &a.control, &a.DNS} {
		if *address, err = freeAddress(); err != nil {
			return err
		}
	}
	a.Directory = "https://" + a.listen + "/dir"
	if err := a.startDNS(); err != nil {
		return err
	}
	return a.startPebble()
}

func (a *Authority) startDNS() error {
	path, err := tools.Find("pebble-challtestsrv")
	if err != nil {
		return err
	}
	a.dns, err = child.Start(a.dir, exec.Command(path, "-http01", "", "-https01", "", "-tlsalpn01", "", "-doh", "",
		"-defaultIPv6", "", "-dnsserver", a.DNS, "-management", a.control))
	if err != nil {
		return err
	}
	return await(a.dns, func(ctx context.Context) error {
		if _, err := a.do(ctx, http.MethodPost, "http://"+a.control+"/dns-request-history", []byte(`{"host":"x"}`)); err != nil {
			return err
		}
		connection, err := (&net.Dialer{}).DialContext(ctx, "tcp", a.DNS)
		if err != nil {
			return err
		}
		return connection.Close()
	})
}

func (a *Authority) startPebble() error {
	path, err := tools.Find("pebble")
	if err != nil {
		return err
	}
	if err := a.configure(); err != nil {
		return err
	}
	resolver := a.options.DNS
	if resolver == "" {
		resolver = a.DNS
	}
	pebble := exec.Command(path, "-config", a.path("config.json"), "-dnsserver", resolver, "-strict")
	pebble.Env = append(os.Environ(), a.environment()...)
	if a.pebble, err = child.Start(a.dir, pebble); err != nil {
		return err
	}
	return await(a.pebble, func(ctx context.Context) error {
		_, err := a.do(ctx, http.MethodGet, a.Directory, nil)
		return err
	})
}

// environment holds the variables that make Pebble misbehave.
func (a *Authority) environment() []string {
	o := a.options
	reject := 50
	if o.NonceReject != 0 {
		reject = max(o.NonceReject, 0)
	}
	env := []string{
		"PEBBLE_WFE_NONCEREJECT=" + strconv.Itoa(reject),
		"PEBBLE_AUTHZREUSE=0",
		"PEBBLE_ALTERNATE_ROOTS=" + strconv.Itoa(o.AlternateRoots),
	}
	if o.SlowSeconds == 0 {
		env = append(env, "PEBBLE_VA_NOSLEEP=1")
	} else {
		// Pebble sleeps for a random number of whole seconds below this.
		env = append(env, "PEBBLE_VA_NOSLEEP=0", "PEBBLE_VA_SLEEPTIME="+strconv.Itoa(o.SlowSeconds+1))
	}
	if o.AlwaysValid {
		env = append(env, "PEBBLE_VA_ALWAYS_VALID=1")
	}
	return env
}

// configure writes Pebble's configuration.
func (a *Authority) configure() error {
	o := a.options
	profiles := map[string]any{}
	named := o.Profiles
	if named == nil {
		named = map[string]time.Duration{"default": 90 * 24 * time.Hour, "shortlived": 6 * 24 * time.Hour}
	}
	for name, life := range named {
		profiles[name] = map[string]any{"description": name, "validityPeriod": int(life / time.Second)}
	}
	text, err := json.Marshal(map[string]any{"pebble": map[string]any{
		"listenAddress":                  a.listen,
		"managementListenAddress":        a.management,
		"certificate":                    a.path("cert.pem"),
		"privateKey":                     a.path("key.pem"),
		"httpPort":                       o.HTTPPort,
		"tlsPort":                        o.TLSPort,
		"externalAccountBindingRequired": len(o.ExternalAccounts) > 0,
		"externalAccountMACKeys":         o.ExternalAccounts,
		"domainBlocklist":                o.Blocked,
		"keyAlgorithm":                   "ecdsa",
		"profiles":                       profiles,
		"retryAfter":                     map[string]int{"authz": o.RetryAfterSeconds, "order": o.RetryAfterSeconds},
	}})
	if err != nil {
		return err
	}
	return os.WriteFile(a.path("config.json"), text, 0o600)
}

// Restart ends Pebble and starts it again, at the same address. Pebble forgets
// everything, including accounts and its own issuer.
func (a *Authority) Restart(t testing.TB) {
	t.Helper()
	a.pebble.Kill()
	if err := a.startPebble(); err != nil {
		t.Fatal(err)
	}
}

// Down ends the authority. Calling it again does nothing.
func (a *Authority) Down() error {
	a.pebble.Kill()
	a.dns.Kill()
	if a.client != nil {
		a.client.CloseIdleConnections()
	}
	return os.RemoveAll(a.dir)
}

// Logs is the end of both servers' logs.
func (a *Authority) Logs() string { return a.dns.Tail() + a.pebble.Tail() }

// Orders is the number of orders since the start.
func (a *Authority) Orders() int { return a.pebble.Count(`Added order "`) }

// Issued is the number of certificates issued since the start.
func (a *Authority) Issued() int { return a.pebble.Count("Issued certificate serial") }

// Looks is the number of checks of names that have begun since the start.
func (a *Authority) Looks() int { return a.pebble.Count("Pulled a task from the Tasks queue") }

func (a *Authority) path(name string) string { return filepath.Join(a.dir, name) }

// Transport returns a transport that trusts the authority's server. The caller
// closes its idle connections.
func (a *Authority) Transport() *http.Transport {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(a.CA)
	return &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}}
}

func (a *Authority) trusting() *http.Client {
	return &http.Client{Transport: a.Transport(), Timeout: 10 * time.Second}
}

// do sends a request to one of the servers and expects 200.
func (a *Authority) do(ctx context.Context, method, url string, body []byte) ([]byte, error) {
	r, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	r.Header.Set("User-Agent", "fairway-test")
	response, err := a.client.Do(r)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s %s: %s: %s", method, url, response.Status, text)
	}
	return text, err
}

// await tries until ready succeeds, the program ends, or time is up.
func await(p *child.Process, ready func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := ready(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-p.Done():
			return p.Err()
		case <-ctx.Done():
			return fmt.Errorf("%s does not become ready: %w", p.Name, err)
		case <-tick.C:
		}
	}
}

// freeAddress is an unused address on 127.0.0.1.
func freeAddress() (string, error) {
	free, err := freeport.Choose()
	return fmt.Sprintf("127.0.0.1:%d", free), err
}

package apiservers_test

import (
	"net"
	"testing"

	"k8s.io/client-go/rest"

	"github.com/fairwaynet/fairway/cmd/internal/apiservers"
)

func TestParse(t *testing.T) {
	for text, want := range map[string]string{
		"192.0.2.1": "192.0.2.1:443", "192.0.2.1:6443": "192.0.2.1:6443", "api.test": "api.test:443",
		"https://api.test:6443": "api.test:6443", "https://api.test/": "api.test:443",
		"[2001:db8::1]:6443": "[2001:db8::1]:6443", "2001:db8::1": "[2001:db8::1]:443", "https://[2001:db8::1]": "[2001:db8::1]:443",
		"": "", ":6443": "", "http://api.test": "", "https://api.test/path": "", "a b": "", "a:b:c": "", "https://": "",
	} {
		if got, err := apiservers.Parse(text); got != want || (err == nil) != (want != "") {
			t.Errorf("%q is %q, %v, want %q", text, got, err, want)
		}
	}
}

// Connections go to the address that answers, and stay with it.
func TestTheNextAddressIsTried(t *testing.T) {
	listen := func() net.Listener {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = l.Close() })
		return l
	}
	first, second := listen(), listen()
	config := &rest.Config{}
	apiservers.Use(config, []string{first.Addr().String(), second.Addr().String()})
	reaches := func(want string) {
		t.Helper()
		connection, err := config.Dial(t.Context(), "tcp", "service.test:443")
		if err != nil {
			t.Fatal(err)
		}
		if got := connection.RemoteAddr().String(); got != want {
			t.Errorf("it reaches %s, want %s", got, want)
		}
		_ = connection.Close()
	}
	reaches(first.Addr().String())
	_ = first.Close()
	reaches(second.Addr().String())
	back, err := net.Listen("tcp", first.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	reaches(second.Addr().String())
	_ = second.Close()
	reaches(first.Addr().String())
	_ = back.Close()
	if _, err := config.Dial(t.Context(), "tcp", "service.test:443"); err == nil {
		t.Error("without a server it connects")
	}
}

// Command echo runs in the pods of a lab. It is a server that reports the
// addresses of a request over HTTP, TCP and UDP, and a client for pods without
// other programs.
//
//	echo [--port 8080] [--udp-port 8081]
//	echo get URL
//	echo udp HOST:PORT [BYTES]
//	echo transfer [--bytes 10000000] [--within 1m] URL
//	echo load [--rate 100] [--host NAME] [--at ADDRESS] [--cacert FILE] URL...
//	echo dns [--rate 200] [--for 10s] [--new-ports] HOST:PORT NAME...
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "echo:", err)
		os.Exit(1) //nolint:gocritic,forbidigo // this is main
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) == 2 && args[0] == "get" {
		return get(ctx, args[1])
	}
	if len(args) == 2 && args[0] == "udp" {
		return askUDP(ctx, args[1], []byte("who?"))
	}
	if len(args) == 3 && args[0] == "udp" {
		return askLarge(ctx, args[1], args[2])
	}
	if len(args) > 1 && args[0] == "transfer" {
		return transfer(ctx, args[1:])
	}
	if len(args) > 1 && args[0] == "load" {
		return load(ctx, args[1:])
	}
	if len(args) > 1 && args[0] == "dns" {
		return loadDNS(ctx, args[1:])
	}
	flags := flag.NewFlagSet("echo", flag.ContinueOnError)
	port := flags.Int("port", 8080, "of HTTP")
	udpPort := flags.Int("udp-port", 8081, "of UDP")
	if err := flags.Parse(args); err != nil {
		return err
	}
	return serve(ctx, *port, *udpPort)
}

// answer is the answer of the server.
type answer struct {
	Server string      // the server's host name
	Client string      // the client's address and port, as the server sees it
	Local  string      // the requested address, as the server sees it
	Method string      `json:",omitempty"`
	Host   string      `json:",omitempty"`
	Path   string      `json:",omitempty"`
	Bytes  int         `json:",omitempty"` // of a datagram
	Header http.Header `json:",omitempty"`
}

func serve(ctx context.Context, port, udpPort int) error {
	name, err := os.Hostname()
	if err != nil {
		return err
	}
	var config net.ListenConfig
	packets, err := config.ListenPacket(ctx, "udp", fmt.Sprintf(":%d", udpPort))
	if err != nil {
		return err
	}
	server := &http.Server{
		Addr: fmt.Sprintf(":%d", port), Handler: handler(name), ReadHeaderTimeout: time.Minute,
	}
	go serveUDP(packets, name)
	context.AfterFunc(ctx, func() {
		_ = packets.Close()                             // makes serveUDP return
		_ = server.Shutdown(context.WithoutCancel(ctx)) // makes ListenAndServe return
	})
	fmt.Fprintf(os.Stdout, "%s serves HTTP on %d and UDP on %d\n", name, port, udpPort)
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func handler(name string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		local, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
		fmt.Fprintf(os.Stdout, "%s %s from %s\n", r.Method, r.URL.Path, r.RemoteAddr)
		if r.URL.Path == transferPath {
			serveTransfer(w, r)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(answer{
			Server: name, Client: r.RemoteAddr, Local: local.String(),
			Method: r.Method, Host: r.Host, Path: r.URL.Path, Header: r.Header,
		}) // the client may be gone
	})
}

// serveUDP answers every packet.
func serveUDP(packets net.PacketConn, name string) {
	buffer := make([]byte, 1<<16)
	for {
		n, from, err := packets.ReadFrom(buffer)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue
		}
		said, err := json.Marshal(answer{Server: name, Client: from.String(), Local: packets.LocalAddr().String(), Bytes: n})
		if err == nil {
			_, _ = packets.WriteTo(append(said, '\n'), from) // it may be lost: this is UDP
		}
	}
}

const patience = 5 * time.Second

func get(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if _, err := io.Copy(os.Stdout, response.Body); err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return errors.New(response.Status)
	}
	return nil
}

// askLarge asks with a datagram of a number of bytes, again while none is answered: the first
// ones may be what tells the kernel how large a packet may be.
func askLarge(ctx context.Context, to, size string) error {
	bytes, err := strconv.Atoi(size)
	if err != nil {
		return fmt.Errorf("udp: %w", err)
	}
	const tries = 3
	for range tries {
		if err = askUDP(ctx, to, make([]byte, bytes)); err == nil {
			return nil
		}
	}
	return fmt.Errorf("none of %d datagrams of %d bytes was answered: %w", tries, bytes, err)
}

func askUDP(ctx context.Context, to string, question []byte) error {
	connection, err := (&net.Dialer{Timeout: patience}).DialContext(ctx, "udp", to)
	if err != nil {
		return err
	}
	defer func() { _ = connection.Close() }() // the answer has been read
	if err := connection.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	if _, err := connection.Write(question); err != nil {
		return err
	}
	buffer := make([]byte, 1<<16)
	n, err := connection.Read(buffer)
	if err != nil {
		return err
	}
	_, err = os.Stdout.Write(buffer[:n])
	return err
}

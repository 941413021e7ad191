package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"time"

	"github.com/miekg/dns"

	"github.com/fairwaynet/fairway/test/pace"
)

// loadDNS asks a DNS server for one name after the other, at an even rate, until the time is over or
// it is told to end. It never asks again. Each worker keeps one source port, as caches on nodes do, or takes
// a new one for each query, as the resolvers of C libraries do.
func loadDNS(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("dns", flag.ContinueOnError)
	rate := flags.Float64("rate", 200, "queries a second")
	duration := flags.Duration("for", 10*time.Second, "how long")
	newPorts := flags.Bool("new-ports", false, "take a new source port for each query")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() < 2 {
		return errors.New("dns: give a server and names")
	}
	ctx, cancel := context.WithTimeout(ctx, *duration)
	defer cancel()
	l := &loader{}
	server, names := flags.Arg(0), flags.Args()[1:]
	took := pace.Run(ctx, *rate, workers, func(due <-chan int) { l.query(due, server, names, *newPorts) })
	return json.NewEncoder(os.Stdout).Encode(l.result(took))
}

func (l *loader) query(due <-chan int, server string, names []string, newPorts bool) {
	client := dns.Client{Net: "udp", Timeout: patience}
	var connection *dns.Conn
	for n := range due {
		began := time.Now()
		var err error
		if connection == nil {
			connection, err = client.Dial(server)
		}
		if err == nil {
			err = lookUp(&client, connection, names[n%len(names)])
		}
		l.count(began, err)
		if newPorts && connection != nil {
			_ = connection.Close() // nothing is under way
			connection = nil
		}
	}
	if connection != nil {
		_ = connection.Close() // nothing is under way
	}
}

// lookUp asks for a name that exists.
func lookUp(client *dns.Client, connection *dns.Conn, name string) error {
	answer, _, err := client.ExchangeWithConn(new(dns.Msg).SetQuestion(dns.Fqdn(name), dns.TypeA), connection)
	if err != nil {
		return fmt.Errorf("%s from %s: %w", name, connection.LocalAddr(), err)
	}
	if answer.Rcode != dns.RcodeSuccess || len(answer.Answer) == 0 {
		return fmt.Errorf("%s: %s with %d records", name, dns.RcodeToString[answer.Rcode], len(answer.Answer))
	}
	return nil
}

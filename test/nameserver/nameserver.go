// Package nameserver is a DNS server for tests. It answers for one zone from
// memory, over UDP and TCP, and accepts signed updates (RFC 2136) as a primary
// does. A DNS library handles the wire format; the zone's logic is in this
// package.
package nameserver

import (
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"github.com/miekg/dns"
)

// Server answers for a zone.
type Server struct {
	// Address is where it listens, over UDP and TCP.
	Address netip.AddrPort

	zone string
	keys map[string]string // TSIG secrets by name; none: updates need no signature

	mu      sync.Mutex
	records []dns.RR
	broken  map[string]int // response codes to answer with instead, by name
	updates int
}

// Start starts a server for a zone on a loopback address, until the test ends.
// Port 0 means any. Clients sign updates with keys: base64 by name, all with
// hmac-sha256 or hmac-sha512.
func Start(t testing.TB, address, zone string, keys map[string]string) *Server {
	t.Helper()
	s := &Server{zone: dns.Fqdn(zone), keys: map[string]string{}, broken: map[string]int{}}
	for name, key := range keys {
		s.keys[dns.Fqdn(name)] = key
	}
	packets, listener := listen(t, address)
	s.Address = netip.MustParseAddrPort(packets.LocalAddr().String())
	accept := func(dns.Header) dns.MsgAcceptAction { return dns.MsgAccept } // including updates
	for _, server := range []*dns.Server{{PacketConn: packets}, {Listener: listener}} {
		server.Handler, server.TsigSecret, server.MsgAcceptFunc = s, s.keys, accept
		started, ended := make(chan struct{}), make(chan struct{})
		server.NotifyStartedFunc = func() { close(started) }
		go func() { defer close(ended); _ = server.ActivateAndServe() }()
		<-started
		t.Cleanup(func() { _ = server.Shutdown(); <-ended })
	}
	return s
}

// listen listens on the same port for UDP and TCP. A port that is free for one
// may be taken for the other.
func listen(t testing.TB, address string) (net.PacketConn, net.Listener) {
	t.Helper()
	var wrong error
	for range 50 {
		listener, err := net.Listen("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		packets, err := net.ListenPacket("udp", listener.Addr().String())
		if err == nil {
			return packets, listener
		}
		_ = listener.Close()
		wrong = err
	}
	t.Fatal(wrong)
	return nil, nil
}

// Add adds records in the notation of zone files: "www 60 IN A 192.0.2.1".
func (s *Server) Add(t testing.TB, records ...string) {
	t.Helper()
	for _, text := range records {
		record, err := dns.NewRR("$ORIGIN " + s.zone + "\n" + text)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		s.mu.Lock()
		s.records = append(s.records, record)
		s.mu.Unlock()
	}
}

// Break makes the server answer for a name with an error code.
func (s *Server) Break(name string, rcode int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.broken[dns.Fqdn(name)] = rcode
}

// TXT are the texts of a name.
func (s *Server) TXT(name string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var texts []string
	for _, record := range s.records {
		if txt, ok := record.(*dns.TXT); ok && txt.Hdr.Name == dns.Fqdn(name) {
			texts = append(texts, strings.Join(txt.Txt, ""))
		}
	}
	return texts
}

// Updates is the number of accepted updates.
func (s *Server) Updates() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.updates
}

// ServeDNS implements dns.Handler.
func (s *Server) ServeDNS(w dns.ResponseWriter, request *dns.Msg) {
	answer := new(dns.Msg)
	answer.SetReply(request)
	s.mu.Lock()
	switch {
	case len(request.Question) != 1:
		answer.Rcode = dns.RcodeFormatError
	case request.Opcode == dns.OpcodeUpdate:
		answer.Rcode = s.update(w, request)
	default:
		s.query(answer, request.Question[0])
	}
	s.mu.Unlock()
	if _, packet := w.RemoteAddr().(*net.UDPAddr); packet {
		size := dns.MinMsgSize
		if extended := request.IsEdns0(); extended != nil {
			size = int(extended.UDPSize())
		}
		answer.Truncate(size)
	}
	if tsig := request.IsTsig(); tsig != nil && w.TsigStatus() == nil {
		answer.SetTsig(tsig.Hdr.Name, tsig.Algorithm, 300, int64(tsig.TimeSigned))
	}
	_ = w.WriteMsg(answer) // the client would miss it
}

// query answers a question, and follows aliases inside the zone.
func (s *Server) query(answer *dns.Msg, question dns.Question) {
	name := strings.ToLower(question.Name)
	if rcode, broken := s.broken[name]; broken {
		answer.Rcode = rcode
		return
	}
	answer.Authoritative = true
	exists := true
	for alias := name; alias != "" && len(answer.Answer) < 10; {
		alias, exists = s.lookUp(answer, alias, question.Qtype)
	}
	if !exists {
		answer.Rcode = dns.RcodeNameError
	}
	if len(answer.Answer) > 0 {
		return
	}
	for _, record := range s.records {
		if record.Header().Rrtype == dns.TypeSOA {
			answer.Ns = append(answer.Ns, record)
		}
	}
}

// lookUp adds the records of a name to an answer. It also returns the target if
// the name is an alias, and whether the name, or one below it, exists.
func (s *Server) lookUp(answer *dns.Msg, name string, kind uint16) (alias string, exists bool) {
	for _, record := range s.records {
		header := record.Header()
		exists = exists || dns.IsSubDomain(name, header.Name)
		if !strings.EqualFold(header.Name, name) {
			continue
		}
		if header.Rrtype == kind {
			answer.Answer = append(answer.Answer, record)
		} else if cname, ok := record.(*dns.CNAME); ok {
			answer.Answer = append(answer.Answer, record)
			alias = strings.ToLower(cname.Target)
		}
	}
	return alias, exists
}

// update changes records according to RFC 2136 and returns the response code.
func (s *Server) update(w dns.ResponseWriter, request *dns.Msg) int {
	if len(s.keys) > 0 && (request.IsTsig() == nil || w.TsigStatus() != nil) {
		return dns.RcodeNotAuth
	}
	if !strings.EqualFold(request.Question[0].Name, s.zone) {
		return dns.RcodeNotAuth
	}
	for _, change := range request.Ns {
		header := change.Header()
		if !dns.IsSubDomain(s.zone, header.Name) {
			return dns.RcodeNotZone
		}
		bare := dns.Copy(change)
		bare.Header().Class = dns.ClassINET
		at := -1
		for i, record := range s.records {
			if dns.IsDuplicate(record, bare) {
				at = i
			}
		}
		switch {
		case header.Class == dns.ClassINET && at < 0:
			s.records = append(s.records, bare)
		case header.Class == dns.ClassNONE && at >= 0:
			s.records = append(s.records[:at], s.records[at+1:]...)
		case header.Class == dns.ClassANY:
			return dns.RcodeRefused // Fairway never deletes records of others
		}
	}
	s.updates++
	return dns.RcodeSuccess
}

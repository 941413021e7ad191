package nft

// registers are the 16 of a rule as far as they are known.
type registers struct {
	bytes [64]byte
	known [64]bool
}

// room says whether the registers from r on hold a value of that length.
func room(r Register, length int) bool { return 4*int(r)+length <= len(registers{}.bytes) }

// extent is where the registers of a value begin and end.
func extent(r Register, length int) (from, to int) {
	from = min(4*int(r), len(registers{}.bytes))
	return from, from + padded(min(length, len(registers{}.bytes)-from))
}

// load puts a value from r on. The kernel fills up the last register with zeros.
func (m *registers) load(r Register, v Value) {
	m.forget(r, len(v))
	from, to := extent(r, len(v))
	copy(m.bytes[from:to], v)
	for i := from; i < to; i++ {
		m.known[i] = true
	}
}

// forget makes what a value of that length would take unknown.
func (m *registers) forget(r Register, length int) {
	from, to := extent(r, length)
	clear(m.bytes[from:to])
	clear(m.known[from:to])
}

// read returns a value, if all of it is known.
func (m *registers) read(r Register, length int) (v Value, known bool) {
	if !room(r, length) {
		return "", false
	}
	for i := range length {
		if !m.known[4*int(r)+i] {
			return "", false
		}
	}
	return Value(m.bytes[4*int(r):][:length]), true
}

package nft

import (
	"fmt"
)

// check says what an engine cannot do with the set.
func (s Set) check() error {
	switch {
	case s.Name == "" || len(s.Key) == 0 || s.Key.size() == 0:
		return fmt.Errorf("declare set %q: no name or no key type", s.Name)
	case s.Interval && len(s.Value) > 0:
		return fmt.Errorf("declare set %q: a map with intervals", s.Name)
	case s.Interval && (s.Dynamic || s.Timed):
		return fmt.Errorf("declare set %q: intervals that end by themselves", s.Name)
	case s.Timeout != 0 && !s.Timed:
		return fmt.Errorf("declare set %q: a timeout, but not timed", s.Name)
	default:
		return nil
	}
}

func (c Chain) check() error {
	for _, rule := range c.Rules {
		if len(rule.Comment) > maxComment {
			return fmt.Errorf("declare chain %q: the comment %q is longer than %d bytes", c.Name, rule.Comment, maxComment)
		}
	}
	return nil
}

// check says why the element cannot be in the set.
func (e Element) check(s Set) error {
	switch {
	case s.Dynamic:
		return fmt.Errorf("put an element into set %s: rules write its elements", s.Name)
	case len(e.Key) != s.Key.size() || e.End != "" && len(e.End) != s.Key.size():
		return fmt.Errorf("put an element into set %s: a key of %d bytes, not %d", s.Name, len(e.Key), s.Key.size())
	case e.End != "" && !s.Interval || e.End != "" && e.End < e.Key:
		return fmt.Errorf("put an element into set %s: a range that it cannot hold", s.Name)
	case s.Value.verdict() != (e.Verdict.Kind != 0):
		return fmt.Errorf("put element %s into set %s: a verdict is missing or too much", s.format(e), s.Name)
	case !s.Value.verdict() && len(e.Value) != s.Value.size():
		return fmt.Errorf("put element %s into set %s: a value of %d bytes, not %d", s.format(e), s.Name, len(e.Value), s.Value.size())
	case e.Timeout != 0 && !s.Timed:
		return fmt.Errorf("put element %s into set %s: a timeout in a set without", s.format(e), s.Name)
	case s.Interval:
		if end := e.End; end != "" {
			group, _ := s.split(e)
			if end[:len(group)] != group {
				return fmt.Errorf("put element %s into set %s: a range in another field than the last", s.format(e), s.Name)
			}
		}
	}
	return nil
}

// check says what is wrong with the part in a table whose skeleton has the sets.
func (p Part) check(fixed map[string]Set) error {
	own := byName(p.Sets)
	for _, s := range p.Sets {
		if err := s.check(); err != nil {
			return err
		}
	}
	for _, c := range p.Chains {
		if err := c.check(); err != nil {
			return err
		}
	}
	for name, elements := range p.Elements {
		s, ok := fixed[name]
		if !ok {
			s, ok = own[name]
		}
		if !ok {
			return fmt.Errorf("put elements into set %q: neither the table nor the part has it", name)
		}
		for _, e := range elements {
			if err := e.check(s); err != nil {
				return err
			}
		}
	}
	return nil
}

func byName(sets []Set) map[string]Set {
	named := make(map[string]Set, len(sets))
	for _, s := range sets {
		named[s.Name] = s
	}
	return named
}

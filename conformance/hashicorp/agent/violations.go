package agent

import (
	"slices"
	"sync"
)

// Violations are the broken rules of one plugin, each once.
type Violations struct {
	lock  sync.Mutex
	found []error
}

// Note keeps a violation; nil is none.
func (v *Violations) Note(violation error) {
	if violation == nil {
		return
	}
	v.lock.Lock()
	defer v.lock.Unlock()
	same := func(other error) bool { return other.Error() == violation.Error() }
	if !slices.ContainsFunc(v.found, same) {
		v.found = append(v.found, violation)
	}
}

// All is what was found so far.
func (v *Violations) All() []error {
	v.lock.Lock()
	defer v.lock.Unlock()
	return slices.Clone(v.found)
}

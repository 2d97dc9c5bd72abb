// Package shim stands for the real one.
package shim

// Stub stands for the real one.
type Stub struct{}

// GetHistoryForKey stands for the real one.
func (Stub) GetHistoryForKey(string) {}

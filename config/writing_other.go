//go:build !linux

package config

// isBeingWritten can't be told here.
func isBeingWritten(string) bool { return false }

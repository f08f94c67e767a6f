//go:build !unix

package main

// belongLike: a file belongs to whom its folder lets.
func belongLike(string, string) error { return nil }

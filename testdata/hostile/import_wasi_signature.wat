;; An import of fd_write with another signature: its pointers would be taken for something else.
;; @load invalid "fd_write"
(module
  (import "wasi_snapshot_preview1" "fd_write" (func (param i64 i64) (result i64)))
  (import "extism:host/env" "input_offset" (func $input_offset (result i64)))
  (import "extism:host/env" "input_length" (func $input_length (result i64)))
  (import "extism:host/env" "output_set" (func $output_set (param i64 i64)))
  (memory 1)
  (func (export "good") (call $output_set (call $input_offset) (call $input_length)))
)

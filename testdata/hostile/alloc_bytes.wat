;; The host's memory for a call in blocks of one byte: what the host keeps to know a block is larger than the block.
;; @limits input=1MiB output=1MiB http_out=1MiB http_in=1MiB time=20s
;; @call bytes => limit "memory|blocks"
(module
  (import "extism:host/env" "input_offset" (func $input_offset (result i64)))
  (import "extism:host/env" "input_length" (func $input_length (result i64)))
  (import "extism:host/env" "output_set" (func $output_set (param i64 i64)))
  (import "extism:host/env" "alloc" (func $alloc (param i64) (result i64)))
  (memory 1)
  (func (export "bytes") (loop (drop (call $alloc (i64.const 1))) (br 0)))
  (func (export "good") (call $output_set (call $input_offset) (call $input_length)))
)

;; Memory to the end: page by page, all at once, more than there is, and touched to the last byte.
;; @limits memory=4MiB time=5s
;; @call until_refused => limit "asked for 65536 bytes of memory beyond its 4194304, was refused"
;; @call touched => limit "asked for 65536 bytes of memory beyond its 4194304, was refused"
;; @call at_once => output "\xff\xff\xff\xff\xff\xff\xff\xff"
;; @call size => output "\x01\x00\x00\x00\x00\x00\x00\x00"
(module
  (import "extism:host/env" "input_offset" (func $input_offset (result i64)))
  (import "extism:host/env" "input_length" (func $input_length (result i64)))
  (import "extism:host/env" "output_set" (func $output_set (param i64 i64)))
  (import "extism:host/env" "alloc" (func $alloc (param i64) (result i64)))
  (import "extism:host/env" "store_u64" (func $store_u64 (param i64 i64)))
  (memory 1)
  (func $answer (param i64) (local $at i64)
    (local.set $at (call $alloc (i64.const 8)))
    (call $store_u64 (local.get $at) (local.get 0))
    (call $output_set (local.get $at) (i64.const 8)))
  (func (export "until_refused") (loop (br_if 0 (i32.ne (memory.grow (i32.const 1)) (i32.const -1)))) (unreachable))
  (func (export "touched")
    (loop (br_if 0 (i32.ne (memory.grow (i32.const 1)) (i32.const -1))))
    (memory.fill (i32.const 0) (i32.const 0xa5) (i32.mul (memory.size) (i32.const 65536)))
    (unreachable))
  (func (export "at_once") (call $answer (i64.extend_i32_s (memory.grow (i32.const 65535)))))
  (func (export "size") (call $answer (i64.extend_i32_s (memory.size))))
  (func (export "good") (call $output_set (call $input_offset) (call $input_length)))
)

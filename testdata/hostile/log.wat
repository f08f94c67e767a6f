;; Floods and forges the log: endless lines, lines of megabytes, control characters, bytes that are no text.
;; @limits time=300ms
;; @call flood => time "ran longer than 300ms"
;; @call forged => output ""
;; @call megabytes => output ""
(module
  (import "extism:host/env" "input_offset" (func $input_offset (result i64)))
  (import "extism:host/env" "input_length" (func $input_length (result i64)))
  (import "extism:host/env" "output_set" (func $output_set (param i64 i64)))
  (import "extism:host/env" "alloc" (func $alloc (param i64) (result i64)))
  (import "extism:host/env" "store_u64" (func $store_u64 (param i64 i64)))
  (import "extism:host/env" "log_trace" (func $log_trace (param i64)))
  (import "extism:host/env" "log_debug" (func $log_debug (param i64)))
  (import "extism:host/env" "log_info" (func $log_info (param i64)))
  (import "extism:host/env" "log_warn" (func $log_warn (param i64)))
  (import "extism:host/env" "log_error" (func $log_error (param i64)))
  (memory 1)
  (func (export "flood") (local $at i64)
    (local.set $at (call $alloc (i64.const 100)))
    (loop (call $log_error (local.get $at)) (call $log_info (local.get $at)) (br 0)))
  (func (export "megabytes") (local $at i64) (local $n i32)
    (local.set $at (call $alloc (i64.const 8388608)))
    (local.set $n (i32.const 8))
    (loop
      (call $log_info (local.get $at))
      (br_if 0 (local.tee $n (i32.sub (local.get $n) (i32.const 1))))))
  (func (export "forged") (local $at i64) ;; "\n\r\x1b[2J\xff\xfe\x00" and "level=E"
    (local.set $at (call $alloc (i64.const 16)))
    (call $store_u64 (local.get $at) (i64.const 0xff4a325b1b0d0a61))
    (call $store_u64 (i64.add (local.get $at) (i64.const 8)) (i64.const 0x453d6c6576656c0a))
    (call $log_trace (local.get $at)) (call $log_debug (local.get $at)) (call $log_info (local.get $at))
    (call $log_warn (local.get $at)) (call $log_error (local.get $at)))
  (func (export "good") (call $output_set (call $input_offset) (call $input_length)))
)

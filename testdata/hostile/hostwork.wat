;; Little work for the guest, much for the host: the clock must be looked at all the same. Each does more than 150ms of work
;; and would then return.
;; @limits time=150ms input=8MiB
;; @call copies "\x00*4194304" => time "ran longer than 150ms"
;; @call keys "\x00*4194304" => time "ran longer than 150ms"
;; @call empty_vectors => time "ran longer than 150ms"
(module
  (import "extism:host/env" "input_offset" (func $input_offset (result i64)))
  (import "extism:host/env" "input_length" (func $input_length (result i64)))
  (import "extism:host/env" "output_set" (func $output_set (param i64 i64)))
  (import "extism:host/env" "free" (func $free (param i64)))
  (import "extism:host/env" "store_u8" (func $store_u8 (param i64 i32)))
  (import "extism:host/env" "config_get" (func $config_get (param i64) (result i64)))
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (memory 8)
  (func (export "copies") (local $n i32) (local $at i64) ;; the host copies a block that it shares, when it is written to
    (local.set $n (i32.const 3000))
    (loop
      (call $store_u8 (local.tee $at (call $input_offset)) (i32.const 1))
      (call $free (local.get $at))
      (br_if 0 (local.tee $n (i32.sub (local.get $n) (i32.const 1))))))
  (func (export "keys") (local $n i32) (local $at i64)
    (local.set $at (call $input_offset)) (local.set $n (i32.const 3000))
    (loop (drop (call $config_get (local.get $at))) (br_if 0 (local.tee $n (i32.sub (local.get $n) (i32.const 1))))))
  (func (export "empty_vectors") (local $n i32)
    (local.set $n (i32.const 3000))
    (loop
      (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 60000) (i32.const 500000)))
      (br_if 0 (local.tee $n (i32.sub (local.get $n) (i32.const 1))))))
  (func (export "good") (call $output_set (call $input_offset) (call $input_length)))
)

//go:build !android && !faketime && !nolibcrypto

#include "textflag.h"

// enter is called by the rules of C (System V ABI, AMD64): DI has a *signCall, BX
// must be as it was, and SP is 8 off a multiple of 16 at the start.
TEXT enter<>(SB), NOSPLIT|NOFRAME, $0-0
	PUSHQ BX
	MOVQ  DI, BX
	MOVQ  8(BX), DI
	MOVQ  16(BX), SI
	MOVQ  24(BX), DX
	MOVQ  32(BX), CX
	MOVQ  40(BX), R8
	MOVQ  0(BX), AX
	CALL  AX
	MOVQ  AX, 48(BX)
	XORL  AX, AX
	POPQ  BX
	RET

DATA ·entry(SB)/8, $enter<>(SB)
GLOBL ·entry(SB), NOPTR|RODATA, $8

//go:build !android && !faketime && !nolibcrypto

#include "textflag.h"

// enter is called by the rules of C (AAPCS64): R0 has a *signCall, R19 must be as
// it was, and SP stays a multiple of 16.
TEXT enter<>(SB), NOSPLIT|NOFRAME, $0-0
	STP.W (R29, R30), -32(RSP)
	MOVD  R19, 16(RSP)
	MOVD  R0, R19
	MOVD  8(R19), R0
	MOVD  16(R19), R1
	MOVD  24(R19), R2
	MOVD  32(R19), R3
	MOVD  40(R19), R4
	MOVD  0(R19), R9
	BL    (R9)
	MOVD  R0, 48(R19)
	MOVD  ZR, R0
	MOVD  16(RSP), R19
	LDP.P 32(RSP), (R29, R30)
	RET

DATA ·entry(SB)/8, $enter<>(SB)
GLOBL ·entry(SB), NOPTR|RODATA, $8
